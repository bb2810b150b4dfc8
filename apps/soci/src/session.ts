import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerdApi, ContainerdImages, ContainerdStore, ImageRecord, ListableStore } from '@soci/content';
import { hasCode } from '@soci/errors';
import type { ArtifactsDb } from '@soci/index';
import type { Logger } from '@soci/log';
import { consoleLog } from './console-log.ts';
import { CliError } from './errors.ts';
import { print, type Host, type Output } from './host.ts';
import type { GlobalOptions } from './options.ts';

/** containerd as commands use it. Connected at the first call, so that what needs no containerd runs without one. */
export interface Containerd {
  readonly api: ContainerdApi;
  readonly content: ContainerdStore;
  readonly images: ContainerdImages;
}

const ROOT_MODE = 0o700;

/** What one command works with: stores and services by the global flags, opened when they are first asked for. */
export class Session implements AsyncDisposable {
  readonly globals: GlobalOptions;
  readonly host: Host;
  /** Aborted by the user and by `--timeout`. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  readonly #opened = new AsyncDisposableStack();
  #containerd: Promise<Containerd> | undefined;
  #artifacts: ArtifactsDb | undefined;
  #lastMs = 0;

  constructor(globals: GlobalOptions, host: Host) {
    this.globals = globals;
    this.host = host;
    this.log = consoleLog(host.stderr, globals.debug);
    this.signal = AbortSignal.any([host.signal, this.#deadline()]);
  }

  get stdout(): Output {
    return this.host.stdout;
  }

  print(line: string): void {
    print(this.host.stdout, line);
  }

  warn(line: string): void {
    print(this.host.stderr, `soci: warning: ${line}`);
  }

  /** The time, later at each call: what is built one after the other is listed in that order. */
  readonly now = (): Date => {
    this.#lastMs = Math.max(this.host.now(), this.#lastMs + 1);
    return new Date(this.#lastMs);
  };

  /** Makes the root directory if it is missing, but none of its parents. */
  async ensureRoot(): Promise<void> {
    try {
      await mkdir(this.globals.root, { mode: ROOT_MODE });
    } catch (cause) {
      if (hasCode(cause, 'EEXIST')) return;
      throw new CliError('OUTPUT_FAILED', `cannot make the root directory ${this.globals.root} (--root names another)`, { cause });
    }
  }

  containerd(): Promise<Containerd> {
    return (this.#containerd ??= this.#connect());
  }

  async artifacts(): Promise<ArtifactsDb> {
    if (this.#artifacts !== undefined) return this.#artifacts;
    const { ARTIFACTS_FILE, ArtifactsDb: Db } = await import('@soci/index');
    return (this.#artifacts = this.#opened.use(Db.open(join(this.globals.root, ARTIFACTS_FILE))));
  }

  /** The store that `--content-store` chose. */
  async blobs(): Promise<ListableStore> {
    if (this.globals.contentStore === 'containerd') return (await this.containerd()).content;
    const { OciLayoutStore } = await import('@soci/content');
    return new OciLayoutStore(this.sociContentPath);
  }

  get sociContentPath(): string {
    return join(this.globals.root, 'content');
  }

  /** containerd's store, with everything that is written to it kept until the session ends. */
  async leasedContent(): Promise<ContainerdStore> {
    const { api } = await this.containerd();
    const { ContainerdStore: Store, openLease } = await import('@soci/content');
    const lease = this.#opened.use(await openLease(api, { now: this.host.now }, this.signal));
    return new Store({ api, leaseId: lease.id });
  }

  /** @throws {CliError} `NOT_FOUND` */
  async image(name: string): Promise<ImageRecord> {
    const { images } = await this.containerd();
    const image = await images.get(name, this.signal);
    if (image === undefined) throw new CliError('NOT_FOUND', `image ${JSON.stringify(name)}: not found`);
    return image;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened.disposeAsync();
  }

  async #connect(): Promise<Containerd> {
    const [{ ContainerdImages: Images, ContainerdStore: Store, containerdApi }, { NAMESPACE_HEADER, openChannel }] = await Promise.all([
      import('@soci/content'),
      import('@soci/rpc'),
    ]);
    const { address, namespace } = this.globals;
    const channel = this.#opened.use(openChannel({ address, headers: { [NAMESPACE_HEADER]: namespace } }));
    const api = containerdApi(channel);
    return { api, content: new Store({ api }), images: new Images(api) };
  }

  #deadline(): AbortSignal {
    const { timeoutMs } = this.globals;
    const controller = new AbortController();
    if (timeoutMs > 0) {
      const timer = setTimeout(
        () => controller.abort(new CliError('TIMEOUT', `not done within ${timeoutMs / 1000}s (--timeout)`)),
        timeoutMs,
      );
      this.#opened.defer(() => clearTimeout(timer));
    }
    return controller.signal;
  }
}
