import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';
import type { Logger } from '@soci/log';
import { ChangeListeners } from './change-listeners.ts';
import type { Credential } from './credential.ts';
import { parseDockerAuthConfig } from './docker-config-file.ts';
import { configKey, findByRepository } from './docker-config-key.ts';
import { DockerConfigReader } from './docker-config-reader.ts';
import { KeychainError } from './errors.ts';
import { CredentialHelpers } from './helper.ts';
import { none, type Answer, type CredentialSource, type Lookup, type SourceChange } from './source.ts';

export interface DockerConfigOptions {
  /** Path of config.json, see `dockerConfigPath`. */
  readonly path: string;
  /** The environment that helpers get; `DOCKER_AUTH_CONFIG` is taken from it, nothing else. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  /** How long a credential helper may take; 60 s by default. */
  readonly helperTimeoutMs?: number;
  /** How long what a helper gave is used without asking it again, unless a registry refuses it; 0 by default: not at all. */
  readonly helperCacheMs?: number;
  /** User ids that may own the file; root and the user we run as by default. */
  readonly owners?: readonly number[];
}

/**
 * Where docker/cli keeps its configuration: `$DOCKER_CONFIG/config.json`, or `.docker/config.json` in the home directory. Without `$HOME`, as in a systemd unit,
 * the home directory comes from the password database.
 */
export function dockerConfigPath(env: Readonly<Record<string, string | undefined>>): string {
  const directory = env.DOCKER_CONFIG || join(env.HOME || userInfo().homedir || homedir(), '.docker');
  return join(directory, 'config.json');
}

/**
 * Reads credentials that `docker login` left in config.json, or asks the helpers named there. For one registry, in this order: `DOCKER_AUTH_CONFIG`, `credHelpers`,
 * `credsStore`, `auths`; a helper, once chosen, is final. The file is read again whenever it has changed;
 * while somebody wants to know of changes it is looked at every second, by its path, since tools put a new file in the place of the old one.
 */
export class DockerConfigSource implements CredentialSource {
  readonly name = 'docker-config';
  readonly #path: string;
  readonly #fromEnvironment: ReadonlyMap<string, Credential>;
  readonly #helpers: CredentialHelpers;
  readonly #listeners = new ChangeListeners();
  readonly #file: DockerConfigReader;

  constructor({ path, env, log, helperTimeoutMs, helperCacheMs = 0, owners = [0, process.geteuid?.() ?? 0] }: DockerConfigOptions) {
    this.#path = path;
    this.#fromEnvironment = environmentEntries(env.DOCKER_AUTH_CONFIG ?? '', log);
    this.#helpers = new CredentialHelpers({
      env,
      log,
      cacheMs: helperCacheMs,
      ...(helperTimeoutMs === undefined ? {} : { timeoutMs: helperTimeoutMs }),
    });
    const onChange = (withdrawn: readonly string[]): void => this.#listeners.tell({ source: this.name, withdrawn });
    this.#file = new DockerConfigReader({ path, log, owners, onChange });
  }

  async resolve({ host, reference }: Lookup, signal: AbortSignal): Promise<Answer> {
    const key = configKey(host);
    const fromEnvironment = this.#fromEnvironment.get(key);
    if (fromEnvironment !== undefined) return this.#candidate(fromEnvironment, `${key} in DOCKER_AUTH_CONFIG`);
    const state = await this.#file.read(signal);
    if (state.kind !== 'read') return none(state.reason);
    const { config } = state;
    const helper = config.credHelpers.get(key) ?? config.credsStore;
    if (helper !== '') {
      const credential = await this.#askHelper(helper, key, signal);
      if (credential === undefined) return none(`helper ${helper} has nothing for ${key}`);
      return this.#candidate(credential, `helper ${helper}, named in ${this.#path}`);
    }
    const entry = findByRepository(config.auths, host, reference.repository);
    if (entry === undefined) return none(`no entry for ${host}/${reference.repository} in ${this.#path}`);
    return this.#candidate(entry.value, `${entry.key} in ${this.#path}`);
  }

  /** What a file gives is what it says; a helper is asked again. */
  refused(fingerprint: string): boolean {
    return this.#helpers.refused(fingerprint);
  }

  /** Of what helpers gave nothing is known: they are asked again when a registry refuses it. */
  onChange(listener: (change: SourceChange) => void): Disposable {
    const resources = new DisposableStack();
    resources.use(this.#listeners.add(listener));
    resources.use(this.#file.watch());
    return resources;
  }

  #candidate(credential: Credential, entry: string): Answer {
    return { kind: 'candidates', source: this.name, candidates: [{ credential, entry }] };
  }

  async #askHelper(helper: string, key: string, signal: AbortSignal): Promise<Credential | undefined> {
    try {
      return await this.#helpers.get(helper, key, signal);
    } catch (cause) {
      if (!(cause instanceof KeychainError)) throw cause;
      throw new KeychainError(cause.code, `${this.name} ${this.#path}: ${cause.message}`, { cause });
    }
  }
}

function environmentEntries(value: string, log: Logger): ReadonlyMap<string, Credential> {
  try {
    return parseDockerAuthConfig(value);
  } catch (cause) {
    log.warn({ cause }, 'DOCKER_AUTH_CONFIG ignored');
    return new Map();
  }
}
