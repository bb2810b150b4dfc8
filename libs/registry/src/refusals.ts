import { LRUCache } from 'lru-cache';

const MAX_ENTRIES = 1024;
const FIRST_WAIT_MS = 5_000;
const MAX_WAIT_MS = 120_000;

/**
 * Remembers which credential a registry refused for a repository. From the second refusal in a row on it is not shown again for a while, twice as long each time, so that a
 * file that is read in a loop does not lock an account. Another credential (another fingerprint) is not held back by it.
 */
export class Refusals {
  readonly #entries = new LRUCache<
    string,
    { readonly host: string; readonly count: number; readonly untilMs: number; readonly mark: number }
  >({
    max: MAX_ENTRIES,
  });
  #mark = 0;
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** How long the credential is not to be shown; 0 or less when it may be. */
  waitMs(key: string): number {
    return (this.#entries.get(key)?.untilMs ?? 0) - this.#nowMs();
  }

  /** To be taken before a credential is shown: of those that are shown side by side one refusal counts. */
  get mark(): number {
    return this.#mark;
  }

  /** @param host that sources were asked for @param shownAt mark of the time before it was shown */
  add(key: string, host: string, shownAt: number): void {
    const known = this.#entries.get(key);
    if (known !== undefined && known.mark > shownAt) return;
    const count = (known?.count ?? 0) + 1;
    const waitMs = count < 2 ? 0 : Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** (count - 2));
    this.#entries.set(key, { host, count, untilMs: this.#nowMs() + waitMs, mark: ++this.#mark });
  }

  clear(key: string): void {
    this.#entries.delete(key);
  }

  /** Whatever was refused for these hosts may be shown again. @param hosts undefined: any */
  clearFor(hosts: readonly string[] | undefined): void {
    if (hosts === undefined) this.#entries.clear();
    else for (const [key, { host }] of this.#entries.entries()) if (hosts.includes(host)) this.#entries.delete(key);
  }
}
