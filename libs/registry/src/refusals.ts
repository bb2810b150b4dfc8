import { LRUCache } from 'lru-cache';

const MAX_ENTRIES = 1024;
const FIRST_WAIT_MS = 5_000;
const MAX_WAIT_MS = 120_000;

/**
 * Remembers which credential a registry refused for a repository. From the second refusal in a row on it is not shown again for a while, twice as long each time, so that a
 * file that is read in a loop does not lock an account. Another credential (another fingerprint) is not held back by it.
 */
export class Refusals {
  readonly #entries = new LRUCache<string, { count: number; untilMs: number }>({ max: MAX_ENTRIES });
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** How long the credential is not to be shown; 0 or less when it may be. */
  waitMs(key: string): number {
    return (this.#entries.get(key)?.untilMs ?? 0) - this.#nowMs();
  }

  add(key: string): void {
    const count = (this.#entries.get(key)?.count ?? 0) + 1;
    const waitMs = count < 2 ? 0 : Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** (count - 2));
    this.#entries.set(key, { count, untilMs: this.#nowMs() + waitMs });
  }

  clear(key: string): void {
    this.#entries.delete(key);
  }

  clearAll(): void {
    this.#entries.clear();
  }
}
