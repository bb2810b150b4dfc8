import { unwatchFile, watchFile } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';
import { describeError, isNotFound } from '@soci/errors';
import type { Logger } from '@soci/log';
import { ChangeListeners, withdrawnBetween } from './change-listeners.ts';
import type { Credential } from './credential.ts';
import { parseDockerAuthConfig, parseDockerConfig, type DockerConfig } from './docker-config-file.ts';
import { configKey, findByRepository } from './docker-config-key.ts';
import { KeychainError } from './errors.ts';
import { CredentialHelpers } from './helper.ts';
import { NONE, type Answer, type CredentialSource, type Lookup, type SourceChange } from './source.ts';
import { readTrustedFile, UntrustedFileError } from './trusted-file.ts';

export interface DockerConfigOptions {
  /** Path of config.json, see `dockerConfigPath`. */
  readonly path: string;
  /** The environment that helpers get; `DOCKER_AUTH_CONFIG` is taken from it, nothing else. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  /** How long a credential helper may take; 60 s by default. */
  readonly helperTimeoutMs?: number;
  /** User ids that may own the file; root and the user we run as by default. */
  readonly owners?: readonly number[];
}

const MAX_CONFIG_BYTES = 1024 * 1024;
const READABLE_BY_OTHERS = 0o044;
const LOOK_EVERY_MS = 1_000;
const LOOK_TIMEOUT_MS = 10_000;

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
  readonly #log: Logger;
  readonly #owners: readonly number[];
  readonly #fromEnvironment: ReadonlyMap<string, Credential>;
  readonly #helpers: CredentialHelpers;
  readonly #listeners = new ChangeListeners();
  readonly #onFileChange = (): void => {
    this.#load(AbortSignal.timeout(LOOK_TIMEOUT_MS)).catch((error: unknown) => this.#warnOnce(error));
  };
  #watchers = 0;
  #current: { readonly version: string; readonly config: DockerConfig | undefined } | undefined;
  #lastProblem = '';

  constructor({ path, env, log, helperTimeoutMs, owners = [0, process.geteuid?.() ?? 0] }: DockerConfigOptions) {
    this.#path = path;
    this.#log = log;
    this.#owners = owners;
    this.#fromEnvironment = environmentEntries(env.DOCKER_AUTH_CONFIG ?? '', log);
    this.#helpers = new CredentialHelpers({ env, log, ...(helperTimeoutMs === undefined ? {} : { timeoutMs: helperTimeoutMs }) });
  }

  async resolve({ host, reference }: Lookup, signal: AbortSignal): Promise<Answer> {
    const key = configKey(host);
    const fromEnvironment = this.#fromEnvironment.get(key);
    if (fromEnvironment !== undefined) return this.#candidate(fromEnvironment, `${key} in DOCKER_AUTH_CONFIG`);
    const config = await this.#load(signal);
    if (config === undefined) return NONE;
    const helper = config.credHelpers.get(key) ?? config.credsStore;
    if (helper !== '') {
      const credential = await this.#askHelper(helper, key, signal);
      return credential === undefined ? NONE : this.#candidate(credential, `helper ${helper}, named in ${this.#path}`);
    }
    const entry = findByRepository(config.auths, host, reference.repository);
    return entry === undefined ? NONE : this.#candidate(entry.value, `${entry.key} in ${this.#path}`);
  }

  /** Of what helpers gave nothing is known: they are asked again when a registry refuses it. */
  onChange(listener: (change: SourceChange) => void): Disposable {
    const subscription = this.#listeners.add(listener);
    if (this.#watchers++ === 0) watchFile(this.#path, { persistent: false, interval: LOOK_EVERY_MS }, this.#onFileChange);
    const resources = new DisposableStack();
    resources.use(subscription);
    resources.defer(() => {
      if (--this.#watchers === 0) unwatchFile(this.#path, this.#onFileChange);
    });
    return resources;
  }

  /** What a new version of the file no longer gives is withdrawn; a file that is gone or not to be trusted gives nothing. */
  #replace(next: { readonly version: string; readonly config: DockerConfig | undefined } | undefined): void {
    const before = this.#current;
    this.#current = next;
    if (before?.version === next?.version) return;
    const withdrawn = withdrawnBetween(before?.config?.auths.values() ?? [], next?.config?.auths.values() ?? []);
    this.#listeners.tell({ source: this.name, withdrawn });
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

  /** A missing file is nothing to speak of; a broken one is no credential either, as in docker/cli, but the log says which and why. One that others can write is an attack. */
  async #load(signal: AbortSignal): Promise<DockerConfig | undefined> {
    try {
      const file = await readTrustedFile(
        this.#path,
        { knownVersion: this.#current?.version, maxBytes: MAX_CONFIG_BYTES, owners: this.#owners },
        signal,
      );
      if (file.text !== undefined) this.#replace({ version: file.version, config: this.#parse(file.text, file.mode) });
      this.#lastProblem = '';
      return this.#current?.config;
    } catch (cause) {
      if (signal.aborted) throw cause;
      this.#replace(undefined);
      if (cause instanceof UntrustedFileError)
        throw new KeychainError('SOURCE_UNTRUSTED', `${this.name}: ${this.#path} is not to be trusted`, { cause });
      if (!isNotFound(cause)) this.#warnOnce(cause);
      return undefined;
    }
  }

  #parse(text: string, mode: number): DockerConfig | undefined {
    if ((mode & READABLE_BY_OTHERS) !== 0)
      this.#log.warn({ path: this.#path, mode: mode.toString(8) }, 'docker config can be read by other users');
    try {
      const config = parseDockerConfig(text);
      for (const { key, reason } of config.skipped) this.#log.warn({ path: this.#path, key, reason }, 'docker config entry skipped');
      return config;
    } catch (cause) {
      if (!(cause instanceof SyntaxError)) throw cause;
      this.#log.warn({ path: this.#path, cause }, 'docker config not usable');
      return undefined;
    }
  }

  /** A file that cannot be opened says so at every look-up; the log says it once. */
  #warnOnce(cause: unknown): void {
    const problem = describeError(cause);
    if (problem !== this.#lastProblem) this.#log.warn({ path: this.#path, cause }, 'docker config not usable');
    this.#lastProblem = problem;
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
