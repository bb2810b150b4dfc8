import { ANONYMOUS, originOf, type Answer, type Credential, type CredentialSource } from '@soci/keychain';
import { LRUCache } from 'lru-cache';
import type { Errand } from './authenticator.ts';
import type { Clock } from './clock.ts';
import { RegistryError } from './errors.ts';

export interface CredentialLookupOptions {
  readonly credentials: CredentialSource;
  readonly clock: Clock;
  /** How long a look-up waits for a source that is not ready; all that ask for one host share the wait. */
  readonly notReadyWaitMs: number;
}

/** A credential, and for messages where it came from. */
export interface Found {
  readonly credential: Credential;
  readonly origin: string;
}

const MAX_WAITS = 512;
/** A source may become ready without a word. */
const ASK_AGAIN_MS = 1_000;

/** Asks the sources. One that is not ready is waited for, once: after that wait look-ups fail at once until it is ready. */
export class CredentialLookup {
  readonly #options: CredentialLookupOptions;
  /** By host: since when a source is not ready. */
  readonly #waits = new LRUCache<string, number>({ max: MAX_WAITS });
  readonly #sleepers = new Set<AbortController>();

  constructor(options: CredentialLookupOptions) {
    this.#options = options;
  }

  /** @throws {RegistryError} `CREDENTIALS_NOT_READY`, `CREDENTIALS_FAILED` */
  async find({ host, reference, namespaces }: Errand, signal: AbortSignal): Promise<readonly Found[]> {
    const { credentials: source, clock, notReadyWaitMs } = this.#options;
    for (;;) {
      let answer: Answer;
      try {
        answer = await source.resolve({ host, reference, namespaces }, signal);
      } catch (cause) {
        signal.throwIfAborted();
        throw new RegistryError('CREDENTIALS_FAILED', `credential for ${host}`, { cause });
      }
      if (answer.kind !== 'not-ready') {
        this.#waits.delete(host);
        if (answer.kind === 'none')
          return [{ credential: ANONYMOUS, origin: `no credential (${answer.reason ?? `asked: ${source.name}`})` }];
        const { source: name, candidates } = answer;
        return candidates.map((candidate) => ({ credential: candidate.credential, origin: originOf(name, candidate) }));
      }
      const nowMs = clock.nowMs();
      const sinceMs = this.#waits.get(host) ?? nowMs;
      this.#waits.set(host, sinceMs);
      const leftMs = sinceMs + notReadyWaitMs - nowMs;
      if (leftMs <= 0) throw new RegistryError('CREDENTIALS_NOT_READY', `credential for ${host}: ${answer.reason}`);
      await this.#pause(Math.min(leftMs, ASK_AGAIN_MS), signal);
    }
  }

  /** A source has changed: whoever waits asks again at once. */
  wake(): void {
    for (const sleeper of this.#sleepers) sleeper.abort();
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    const sleeper = new AbortController();
    this.#sleepers.add(sleeper);
    try {
      await this.#options.clock.sleep(ms, AbortSignal.any([signal, sleeper.signal]));
    } catch (error) {
      signal.throwIfAborted();
      if (!sleeper.signal.aborted) throw error;
    } finally {
      this.#sleepers.delete(sleeper);
    }
  }
}
