import { describeError, isNotFound } from '@soci/errors';
import type { Logger } from '@soci/log';
import { withdrawnBetween } from './change-listeners.ts';
import type { Credential } from './credential.ts';
import { parseDockerConfig, type DockerConfig } from './docker-config-file.ts';
import { KeychainError } from './errors.ts';
import { PolledPath } from './polled-path.ts';
import { readTrustedFile, UntrustedFileError } from './trusted-file.ts';

export interface DockerConfigReaderOptions {
  readonly path: string;
  readonly log: Logger;
  /** User ids that may own the file. */
  readonly owners: readonly number[];
  /** Called when there is another version of the file, with what it takes away. */
  readonly onChange: (withdrawn: readonly string[]) => void;
}

/** What the file says, or why it says nothing. */
export type DockerConfigState =
  | { readonly kind: 'read'; readonly config: DockerConfig }
  | { readonly kind: 'missing'; readonly reason: string }
  | { readonly kind: 'broken'; readonly reason: string };

const MAX_CONFIG_BYTES = 1024 * 1024;
const READABLE_BY_OTHERS = 0o044;
const LOOK_TIMEOUT_MS = 10_000;

/** A config.json that is read again whenever it has changed. */
export class DockerConfigReader {
  readonly #options: DockerConfigReaderOptions;
  readonly #polled: PolledPath;
  #version: string | undefined;
  #state: DockerConfigState = { kind: 'missing', reason: 'not read yet' };
  /** What was given last, by key. An edit that goes wrong, of the file or of an entry, takes nothing of it away; whatever can be read decides. */
  #given: ReadonlyMap<string, Credential> = new Map();
  #lastProblem = '';

  constructor(options: DockerConfigReaderOptions) {
    this.#options = options;
    this.#polled = new PolledPath(options.path, () => {
      this.read(AbortSignal.timeout(LOOK_TIMEOUT_MS)).catch((error: unknown) => this.#warnOnce(error));
    });
  }

  /** Looks at the file without being asked, until disposed of. */
  watch(): Disposable {
    return this.#polled.watch();
  }

  /**
   * A missing file is nothing to speak of; a broken one is no credential either, as in docker/cli, but the log says which and why. One that others can write is an attack.
   *
   * @throws {KeychainError} `SOURCE_UNTRUSTED`
   */
  async read(signal: AbortSignal): Promise<DockerConfigState> {
    const { path, owners } = this.#options;
    try {
      const file = await readTrustedFile(path, { knownVersion: this.#version, maxBytes: MAX_CONFIG_BYTES, owners }, signal);
      if (file.text !== undefined) this.#replace(file.version, this.#parse(file.text, file.mode));
      this.#lastProblem = '';
    } catch (cause) {
      if (signal.aborted) throw cause;
      const reason = `${path}: ${describeError(cause)}`;
      this.#replace(undefined, isNotFound(cause) ? { kind: 'missing', reason: `no file ${path}` } : { kind: 'broken', reason });
      if (cause instanceof UntrustedFileError) {
        this.#forget();
        throw new KeychainError('SOURCE_UNTRUSTED', `docker-config: ${path} is not to be trusted`, { cause });
      }
      if (!isNotFound(cause)) this.#warnOnce(cause);
    }
    return this.#state;
  }

  #parse(text: string, mode: number): DockerConfigState {
    const { path, log } = this.#options;
    if ((mode & READABLE_BY_OTHERS) !== 0) log.warn({ path, mode: mode.toString(8) }, 'docker config can be read by other users');
    try {
      const config = parseDockerConfig(text);
      for (const { key, reason } of config.skipped) log.warn({ path, key, reason }, 'docker config entry skipped');
      return { kind: 'read', config };
    } catch (cause) {
      if (!(cause instanceof SyntaxError)) throw cause;
      log.warn({ path, cause }, 'docker config not usable');
      return { kind: 'broken', reason: `${path}: ${cause.message}` };
    }
  }

  #replace(version: string | undefined, state: DockerConfigState): void {
    const isSame = version === this.#version && state.kind === this.#state.kind;
    this.#version = version;
    this.#state = state;
    if (isSame) return;
    const before = this.#given;
    this.#given = givenBy(state, before);
    this.#options.onChange(withdrawnBetween(before.values(), this.#given.values()));
  }

  #forget(): void {
    const before = this.#given;
    this.#given = new Map();
    if (before.size > 0) this.#options.onChange(withdrawnBetween(before.values(), []));
  }

  /** A file that cannot be opened says so at every look-up; the log says it once. */
  #warnOnce(cause: unknown): void {
    const problem = describeError(cause);
    if (problem !== this.#lastProblem) this.#options.log.warn({ path: this.#options.path, cause }, 'docker config not usable');
    this.#lastProblem = problem;
  }
}

function givenBy(state: DockerConfigState, before: ReadonlyMap<string, Credential>): ReadonlyMap<string, Credential> {
  if (state.kind === 'missing') return new Map();
  if (state.kind === 'broken') return before;
  const given = new Map(state.config.auths);
  for (const { key } of state.config.skipped) {
    const kept = before.get(key);
    if (kept !== undefined) given.set(key, kept);
  }
  return given;
}
