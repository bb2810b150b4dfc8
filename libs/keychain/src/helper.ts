import type { Logger } from '@soci/log';
import { Turnstile } from '@soci/process';
import { AnswerCache } from './answer-cache.ts';
import { basic, identityToken, type Credential } from './credential.ts';
import { KeychainError } from './errors.ts';
import { JsonObject, readFirstValue } from './go-json.ts';
import { helperEnvironment } from './helper-environment.ts';
import { runProcess, type ProcessOutcome } from './helper-process.ts';
import { plainWords } from './plain-words.ts';
import { SingleFlight } from './single-flight.ts';

export interface HelperOptions {
  /** The service's own environment. What concerns this process alone is taken out before a helper sees it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  /** How long one run may take; 60 s by default, as long as the kubelet gives its plugins. */
  readonly timeoutMs?: number;
  /** How long what a helper gave is taken for what it would give now; 0, the default: it is asked at every look-up. */
  readonly cacheMs?: number;
  /** A clock that is never set. */
  readonly nowMs?: () => number;
}

const PREFIX = 'docker-credential-';
const SUFFIX = /^[A-Za-z0-9._-]+$/;
const DEFAULT_TIMEOUT_MS = 60_000;
const MAX_KEPT = 256;
const MAX_STDOUT_BYTES = 64 * 1024;
const MAX_STDERR_BYTES = 16 * 1024;
/** Of one program. */
const MAX_PARALLEL_RUNS = 4;
const NOT_FOUND_TEXT = 'credentials not found in native keychain';
const IDENTITY_TOKEN_USER = '<token>';

/**
 * Credential helpers: programs named `docker-credential-<suffix>`, asked by `get` with the registry's key on standard input.
 *
 * @see https://github.com/docker/docker-credential-helpers#development
 */
export class CredentialHelpers {
  readonly #env: Readonly<Record<string, string>>;
  readonly #log: Logger;
  readonly #timeoutMs: number;
  readonly #cacheMs: number;
  readonly #cache: AnswerCache<Credential>;
  readonly #flights = new SingleFlight<Credential | undefined>();
  /** By program: one that hangs must not hold up the others. */
  readonly #limits = new Map<string, Turnstile>();

  constructor({ env, log, timeoutMs = DEFAULT_TIMEOUT_MS, cacheMs = 0, nowMs = () => performance.now() }: HelperOptions) {
    this.#env = helperEnvironment(env);
    this.#log = log;
    this.#timeoutMs = timeoutMs;
    this.#cacheMs = cacheMs;
    this.#cache = new AnswerCache({ max: MAX_KEPT, nowMs, credentialsOf: (credential) => [credential] });
  }

  /**
   * Asks a helper; those who ask the same at the same time share one run.
   *
   * @returns undefined when it has no entry for the key
   * @throws {KeychainError} `HELPER_MISSING`, `HELPER_FAILED`, `HELPER_TIMEOUT`; `CONFIG_INVALID` when the suffix is no name of a program
   */
  async get(suffix: string, key: string, signal: AbortSignal): Promise<Credential | undefined> {
    if (!SUFFIX.test(suffix) || suffix === '.' || suffix === '..') {
      throw new KeychainError(
        'CONFIG_INVALID',
        `credential helper for ${key}: ${JSON.stringify(suffix.slice(0, 64))} cannot be a helper's name`,
      );
    }
    const flight = `${suffix}\0${key}`;
    const kept = this.#cache.get(flight);
    if (kept !== undefined) return kept;
    const limit = this.#limits.get(suffix) ?? new Turnstile(MAX_PARALLEL_RUNS);
    this.#limits.set(suffix, limit);
    return this.#flights.run(flight, signal, async (shared) => {
      using turn = new DisposableStack();
      turn.use(await limit.enter(shared));
      const credential = await this.#run(PREFIX + suffix, key, shared);
      if (credential !== undefined) this.#cache.set(flight, credential, this.#cacheMs);
      return credential;
    });
  }

  /** @returns whether a helper will be asked anew because of it, where it would not have been */
  refused(fingerprint: string): boolean {
    return this.#cache.refuse(fingerprint);
  }

  async #run(program: string, key: string, signal: AbortSignal): Promise<Credential | undefined> {
    const limits = { timeoutMs: this.#timeoutMs, maxStdoutBytes: MAX_STDOUT_BYTES, maxStderrBytes: MAX_STDERR_BYTES };
    const startedMs = performance.now();
    let outcome: ProcessOutcome;
    try {
      outcome = await runProcess(program, ['get'], { input: key, env: this.#env, limits }, signal);
    } catch (cause) {
      if (signal.aborted) throw cause;
      throw new KeychainError('HELPER_FAILED', `credential helper ${program} for ${key}: cannot be run`, { cause });
    }
    const stderr = 'stderr' in outcome ? plainWords(outcome.stderr.toString('utf8')) : '';
    this.#log.debug(
      { helper: program, key, outcome: outcome.kind, stderr, durationMs: Math.round(performance.now() - startedMs) },
      'credential helper ran',
    );
    return this.#read(outcome, (code, why) => new KeychainError(code, `credential helper ${program} for ${key}: ${why}`));
  }

  #read(
    outcome: ProcessOutcome,
    failure: (code: 'HELPER_MISSING' | 'HELPER_FAILED' | 'HELPER_TIMEOUT', why: string) => KeychainError,
  ): Credential | undefined {
    switch (outcome.kind) {
      case 'missing':
        throw failure('HELPER_MISSING', 'executable file not found in $PATH');
      case 'timeout':
        throw failure('HELPER_TIMEOUT', `no answer within ${this.#timeoutMs} ms`);
      case 'too-much-output':
        throw failure('HELPER_FAILED', `more than ${MAX_STDOUT_BYTES} bytes of output`);
      case 'killed':
        throw failure('HELPER_FAILED', `killed by ${outcome.by}`);
      case 'exited':
    }
    const text = outcome.stdout.toString('utf8');
    if (outcome.code !== 0) {
      if (text.trim() === NOT_FOUND_TEXT) return undefined;
      throw failure('HELPER_FAILED', [`exit status ${outcome.code}`, plainWords(text)].filter((part) => part !== '').join(': '));
    }
    const answer = readAnswer(text);
    if (answer === undefined) throw failure('HELPER_FAILED', 'its answer is not a JSON object with Username and Secret');
    if (answer.username === '' && answer.secret === '') return undefined;
    return answer.username === IDENTITY_TOKEN_USER ? identityToken(answer.secret) : basic(answer.username, answer.secret);
  }
}

function readAnswer(text: string): { readonly username: string; readonly secret: string } | undefined {
  try {
    const value = readFirstValue(text)?.value;
    if (!(value instanceof JsonObject)) return undefined;
    const username = value.all('Username').at(-1) ?? '';
    const secret = value.all('Secret').at(-1) ?? '';
    return typeof username === 'string' && typeof secret === 'string' ? { username, secret } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
