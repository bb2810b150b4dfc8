import { access } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { describeError, isNotFound } from '@soci/errors';
import { readTrustedFile, UntrustedFileError } from '@soci/keychain';
import type { Logger } from '@soci/log';
import { NOBODY, type ApiTarget } from './api-target.ts';
import { SecretsError } from './errors.ts';
import { parseKubeconfig, type KubeconfigText } from './kubeconfig-document.ts';

export interface KubeconfigOptions {
  /** As configured; empty for the usual search: `$KUBECONFIG`, `$HOME/.kube/config`, the service account of the pod. */
  readonly path: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  /** User ids that may own the files; root and the user we run as by default. */
  readonly owners?: readonly number[];
  /** Where the kubelet puts what a pod needs to log in. */
  readonly serviceAccountDirectory?: string;
}

const MAX_BYTES = 1024 * 1024;
const READABLE_BY_OTHERS = 0o044;
const SERVICE_ACCOUNT_DIRECTORY = '/var/run/secrets/kubernetes.io/serviceaccount';
const IN_CLUSTER = 'in-cluster';

/** Finds out which API server to follow, and as whom; asked again and again, it tells what is new. */
export class Kubeconfig {
  readonly #options: Required<KubeconfigOptions>;
  readonly #warned = new Set<string>();
  #versions: ReadonlyMap<string, string> = new Map();

  constructor(options: KubeconfigOptions) {
    this.#options = { owners: [0, process.geteuid?.() ?? 0], serviceAccountDirectory: SERVICE_ACCOUNT_DIRECTORY, ...options };
  }

  /**
   * @returns undefined where nothing has changed since the last call that did not throw
   * @throws {SecretsError} `KUBECONFIG_MISSING`, `KUBECONFIG_INVALID`, `KUBECONFIG_UNTRUSTED`; the next call then reads all anew
   */
  async read(signal: AbortSignal): Promise<ApiTarget | undefined> {
    const known = this.#versions;
    this.#versions = new Map();
    const files = await this.#open(known, signal);
    if (files.size === 0) return await this.#inCluster(known);
    const versions = new Map([...files].map(([path, { version }]) => [path, version]));
    if (isSame(known, versions)) {
      this.#versions = versions;
      return undefined;
    }
    const texts: KubeconfigText[] = [];
    for (const [path, file] of await this.#open(new Map(), signal)) {
      if (file.text !== undefined) texts.push({ path, directory: dirname(resolve(path)), text: file.text });
      versions.set(path, file.version);
    }
    const target = await parseKubeconfig(texts);
    this.#versions = versions;
    return target;
  }

  /** Those of the files that are there. */
  async #open(
    known: ReadonlyMap<string, string>,
    signal: AbortSignal,
  ): Promise<Map<string, { readonly version: string; readonly text: string | undefined }>> {
    const found = new Map<string, { readonly version: string; readonly text: string | undefined }>();
    for (const path of this.#paths()) {
      try {
        const file = await readTrustedFile(
          path,
          { knownVersion: known.get(path), maxBytes: MAX_BYTES, owners: this.#options.owners },
          signal,
        );
        if ((file.mode & READABLE_BY_OTHERS) !== 0) this.#warnOnce(path, file.mode);
        found.set(path, file);
      } catch (cause) {
        signal.throwIfAborted();
        if (cause instanceof UntrustedFileError)
          throw new SecretsError('KUBECONFIG_UNTRUSTED', `kubeconfig ${path} is not to be trusted`, { cause });
        if (!isNotFound(cause)) throw new SecretsError('KUBECONFIG_INVALID', `kubeconfig ${path}: ${describeError(cause)}`, { cause });
      }
    }
    return found;
  }

  #paths(): readonly string[] {
    const { path, env } = this.#options;
    if (path !== '') return [path];
    const listed = (env.KUBECONFIG ?? '').split(delimiter).filter((entry) => entry !== '');
    return listed.length > 0 ? [...new Set(listed)] : [join(env.HOME || userInfo().homedir, '.kube', 'config')];
  }

  async #inCluster(known: ReadonlyMap<string, string>): Promise<ApiTarget | undefined> {
    const { path, env, serviceAccountDirectory } = this.#options;
    const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = env;
    const tokenFile = join(serviceAccountDirectory, 'token');
    if (path !== '' || !host || !port || !(await exists(tokenFile)))
      throw new SecretsError(
        'KUBECONFIG_MISSING',
        `no kubeconfig: ${this.#paths().join(', ')} not found${path === '' ? ', and not in a pod' : ''}`,
      );
    this.#versions = new Map([[IN_CLUSTER, '']]);
    if (known.has(IN_CLUSTER)) return undefined;
    return {
      origin: IN_CLUSTER,
      server: {
        url: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
        authority: { kind: 'file', path: join(serviceAccountDirectory, 'ca.crt') },
        isInsecure: false,
        serverName: undefined,
        proxyUrl: undefined,
      },
      user: { ...NOBODY, tokenFile },
    };
  }

  #warnOnce(path: string, mode: number): void {
    if (this.#warned.has(path)) return;
    this.#warned.add(path);
    this.#options.log.warn({ path, mode: mode.toString(8) }, 'kubeconfig can be read by other users');
  }
}

function isSame(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  return a.size === b.size && [...a].every(([path, version]) => b.get(path) === version);
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
