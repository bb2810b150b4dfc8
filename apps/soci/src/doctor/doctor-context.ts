import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { DEFAULT_ADDRESS, DEFAULT_CONFIG_PATH, loadConfig, type LoadedConfig } from '@soci/config';
import { isNotFound } from '@soci/errors';
import type { Logger } from '@soci/log';
import { openChannel, type Channel } from '@soci/rpc';
import { openStatus, type HealthReport, type StatusClient, type StatusReport } from '@soci/status';
import { readContainerdConfig, type ContainerdConfig } from './containerd-config.ts';
import { probeRegistries, type RegistryProbe } from './registry-probe.ts';

export interface DoctorOptions {
  readonly adminAddress: string;
  /** The service's config.toml. */
  readonly configPath: string;
  /** containerd's config.toml. */
  readonly containerdConfigPath: string;
  /** containerd's socket. */
  readonly containerdAddress: string;
  /** The service's state folder, where the service does not say so itself. */
  readonly root: string;
  /** Registries to ask besides those that are configured or in use. */
  readonly registries: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  readonly nowMs: () => number;
  /** Where /proc, /sys, /dev and /run are looked for; `/` by default. */
  readonly system?: string;
}

/** The longest file that is read; those of /proc do not tell their size. */
const MAX_FILE_BYTES = 1 << 20;

/** What checks work with. What several want to know is found out once, by whoever asks first, within that check's deadline. */
export class DoctorContext implements Disposable {
  readonly options: DoctorOptions;
  readonly #opened = new DisposableStack();
  readonly #status: StatusClient;
  readonly #containerd: Channel;
  #report: Promise<StatusReport> | undefined;
  #health: Promise<{ readonly live: HealthReport; readonly ready: HealthReport }> | undefined;
  #config: Promise<LoadedConfig> | undefined;
  #containerdConfig: Promise<ContainerdConfig> | undefined;
  #registries: Promise<readonly RegistryProbe[]> | undefined;

  constructor(options: DoctorOptions) {
    this.options = options;
    this.#status = this.#opened.use(openStatus(options.adminAddress));
    this.#containerd = this.#opened.use(openChannel({ address: options.containerdAddress }));
  }

  get containerd(): Channel {
    return this.#containerd;
  }

  /** What the running service tells. @throws {StatusError} */
  report(signal: AbortSignal): Promise<StatusReport> {
    return (this.#report ??= this.#status.status(signal));
  }

  /** The same, undefined where it does not tell: one check says that, the others have nothing to say then. */
  reportIfAny(signal: AbortSignal): Promise<StatusReport | undefined> {
    return this.report(signal).catch(() => undefined);
  }

  health(signal: AbortSignal): Promise<{ readonly live: HealthReport; readonly ready: HealthReport }> {
    return (this.#health ??= this.#status.health(signal));
  }

  /** The service's configuration. @throws {ConfigError} */
  config(): Promise<LoadedConfig> {
    return (this.#config ??= loadConfig(this.options.configPath, { defaultPath: DEFAULT_CONFIG_PATH }));
  }

  /** @throws {ContainerdConfigError} */
  containerdConfig(): Promise<ContainerdConfig> {
    return (this.#containerdConfig ??= readContainerdConfig(this.options.containerdConfigPath));
  }

  /** Registries that matter here, each asked once. */
  registries(signal: AbortSignal): Promise<readonly RegistryProbe[]> {
    return (this.#registries ??= probeRegistries(this, signal));
  }

  /** The socket that containerd has to connect to. */
  async serviceAddress(signal: AbortSignal): Promise<string> {
    const report = await this.reportIfAny(signal);
    return report?.sockets.find(({ name }) => name === 'containerd')?.address ?? DEFAULT_ADDRESS;
  }

  async serviceRoot(signal: AbortSignal): Promise<string> {
    return ((await this.reportIfAny(signal))?.root ?? this.options.root).replace(/(.)\/+$/, '$1');
  }

  path(absolute: string): string {
    return join(this.options.system ?? '/', absolute);
  }

  /** A file of the system, its first MiB; undefined when it is not there. */
  async readSystemFile(absolute: string): Promise<Buffer | undefined> {
    try {
      await using file = await open(this.path(absolute), 'r');
      const bytes = Buffer.alloc(MAX_FILE_BYTES);
      let length = 0;
      for (;;) {
        const { bytesRead } = await file.read(bytes, length, bytes.length - length);
        if (bytesRead === 0) return bytes.subarray(0, length);
        length += bytesRead;
      }
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#opened.dispose();
  }
}
