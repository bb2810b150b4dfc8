import { join } from 'node:path';
import { describeError } from '@soci/errors';
import type { Logger } from '@soci/log';
import { Turnstile } from '@soci/process';
import type { Credential } from './credential.ts';
import { KeychainError } from './errors.ts';
import { helperEnvironment } from './helper-environment.ts';
import { runProcess, type ProcessOutcome } from './helper-process.ts';
import { matchesImage, parseImagePattern, type ImagePattern, type PatternTarget } from './image-pattern.ts';
import type { KeyringEntry } from './keyring.ts';
import { plainWords } from './plain-words.ts';
import { parsePluginAnswer, PluginAnswerError, type PluginAnswer } from './plugin-answer.ts';
import { PluginCache } from './plugin-cache.ts';
import type { PluginProvider } from './plugin-config.ts';
import { SingleFlight } from './single-flight.ts';
import { requireTrusted, UntrustedFileError } from './trusted-file.ts';

export interface CredentialPluginOptions {
  /** Folder of its program. */
  readonly binDir: string;
  /** The service's own environment, of which a plugin gets what helpers get. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  readonly owners: readonly number[];
  readonly timeoutMs: number;
  /** The wall clock, for the age of entries. */
  readonly nowMs: () => number;
  /** For how long an answer holds: a clock that is set must not prolong it. */
  readonly monotonicMs: () => number;
}

/** What a plugin has for an image, or why it has nothing. */
export type PluginFinding =
  | { readonly kind: 'entries'; readonly entries: readonly KeyringEntry[] }
  | { readonly kind: 'failed'; readonly reason: string };

const MAX_STDOUT_BYTES = 256 * 1024;
const MAX_STDERR_BYTES = 16 * 1024;
/** Of one plugin. Who waits may find that the answer for another image serves his, too. */
const MAX_PARALLEL_RUNS = 4;

/** One of the kubelet's credential provider programs, asked with a CredentialProviderRequest on its standard input. */
export class CredentialPlugin {
  readonly provider: PluginProvider;
  readonly #options: CredentialPluginOptions;
  readonly #patterns: readonly ImagePattern[];
  readonly #cache: PluginCache;
  readonly #flights = new SingleFlight<PluginFinding>();
  readonly #runs = new Turnstile(MAX_PARALLEL_RUNS);

  constructor(provider: PluginProvider, options: CredentialPluginOptions) {
    this.provider = provider;
    this.#options = options;
    this.#patterns = provider.matchImages.map(parseImagePattern).filter((pattern) => pattern !== undefined);
    this.#cache = new PluginCache(options.monotonicMs);
  }

  isFor(target: PatternTarget): boolean {
    return this.#patterns.some((pattern) => matchesImage(pattern, target));
  }

  /**
   * Gives what the plugin said before, or asks it; those who ask for the same image at the same time share one run. A failure is logged and told, not thrown.
   *
   * @param image registry and repository, without tag and digest
   * @throws {KeychainError} `SOURCE_UNTRUSTED` when others can change what would be run; the signal's reason
   */
  async ask(image: string, signal: AbortSignal): Promise<PluginFinding> {
    return this.#kept(image) ?? (await this.#flights.run(image, signal, (shared) => this.#askInTurn(image, shared)));
  }

  /** @returns whether the plugin will be asked for something because of it */
  refused(fingerprint: string): boolean {
    return this.#cache.refuse(fingerprint);
  }

  /** All that it said and that still holds. */
  credentials(): Iterable<Credential> {
    return this.#cache.credentials();
  }

  async #askInTurn(image: string, signal: AbortSignal): Promise<PluginFinding> {
    using turn = new DisposableStack();
    turn.use(await this.#runs.enter(signal));
    return this.#kept(image) ?? (await this.#askAnew(image, signal));
  }

  #kept(image: string): PluginFinding | undefined {
    const entries = this.#cache.find(image);
    return entries === undefined ? undefined : { kind: 'entries', entries };
  }

  async #askAnew(image: string, signal: AbortSignal): Promise<PluginFinding> {
    const { log, nowMs } = this.#options;
    const { name, apiVersion, defaultCacheMs } = this.provider;
    const startedMs = performance.now();
    try {
      if (this.provider.wantsServiceAccountToken)
        throw new PluginAnswerError('it wants a service account token (tokenAttributes), which is not supported');
      const answer = parsePluginAnswer(await this.#run(image, signal), apiVersion);
      const entries = this.#toEntries(answer, nowMs());
      this.#cache.add(answer.cacheKeyType, image, entries, answer.cacheMs ?? defaultCacheMs);
      log.debug({ plugin: name, image, durationMs: Math.round(performance.now() - startedMs) }, 'credential plugin ran');
      return { kind: 'entries', entries };
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof KeychainError) throw error;
      const reason = `plugin ${name}: ${describeError(error)}`;
      log.warn({ plugin: name, image, reason, durationMs: Math.round(performance.now() - startedMs) }, 'credential plugin failed');
      return { kind: 'failed', reason };
    }
  }

  #toEntries({ auth }: PluginAnswer, sinceMs: number): readonly KeyringEntry[] {
    const { name } = this.provider;
    return Array.from(auth, ([key, credential]) => ({ key, candidate: { credential, entry: `${key} by plugin ${name}`, sinceMs } }));
  }

  async #run(image: string, signal: AbortSignal): Promise<string> {
    const { name, apiVersion, args } = this.provider;
    const program = await this.#program();
    const input = `${JSON.stringify({ kind: 'CredentialProviderRequest', apiVersion, image })}\n`;
    const env = { ...helperEnvironment(this.#options.env), ...Object.fromEntries(this.provider.env.map((one) => [one.name, one.value])) };
    const limits = { timeoutMs: this.#options.timeoutMs, maxStdoutBytes: MAX_STDOUT_BYTES, maxStderrBytes: MAX_STDERR_BYTES };
    const outcome = await runProcess(program, args, { input, env, limits }, signal);
    const stderr = 'stderr' in outcome ? plainWords(outcome.stderr.toString('utf8')) : '';
    if (stderr !== '') this.#options.log.debug({ plugin: name, image, stderr }, 'credential plugin wrote to its standard error');
    return outputOf(outcome, this.#options.timeoutMs);
  }

  async #program(): Promise<string> {
    const { binDir, owners } = this.#options;
    const program = join(binDir, this.provider.name);
    try {
      await requireTrusted(binDir, 'folder', owners);
      await requireTrusted(program, 'program', owners);
    } catch (cause) {
      if (!(cause instanceof UntrustedFileError)) throw cause;
      throw new KeychainError('SOURCE_UNTRUSTED', `credential-plugins: ${program} is not to be trusted`, { cause });
    }
    return program;
  }
}

function outputOf(outcome: ProcessOutcome, timeoutMs: number): string {
  switch (outcome.kind) {
    case 'missing':
      throw new PluginAnswerError('no such program');
    case 'timeout':
      throw new PluginAnswerError(`no answer within ${timeoutMs} ms`);
    case 'too-much-output':
      throw new PluginAnswerError(`more than ${MAX_STDOUT_BYTES} bytes of output`);
    case 'killed':
      throw new PluginAnswerError(`killed by ${outcome.by}`);
    case 'exited':
  }
  if (outcome.code !== 0) throw new PluginAnswerError(`exit status ${outcome.code}`);
  return outcome.stdout.toString('utf8');
}
