import { BoundedMap } from './bounded-map.ts';
import { fingerprint, type Credential } from './credential.ts';

export interface AnswerCacheOptions<T> {
  /** How many answers are kept; the least recently used go. */
  readonly max: number;
  /** A clock that is never set. */
  readonly nowMs: () => number;
  readonly credentialsOf: (value: T) => Iterable<Credential>;
}

interface Kept<T> {
  readonly value: T;
  readonly sinceMs: number;
  readonly untilMs: number;
  isRefused: boolean;
}

/** Whoever gave an answer that was refused at once is not asked again in a loop. */
const MIN_AGE_TO_ASK_AGAIN_MS = 5_000;

/** What a program said, for as long as that is to be taken for what it would say now. What has a refused credential goes, unless it is but seconds old. */
export class AnswerCache<T> {
  readonly #options: AnswerCacheOptions<T>;
  readonly #answers: BoundedMap<string, Kept<T>>;

  constructor(options: AnswerCacheOptions<T>) {
    this.#options = options;
    this.#answers = new BoundedMap(options.max);
  }

  get(key: string): T | undefined {
    const kept = this.#answers.get(key);
    if (kept === undefined) return undefined;
    if (this.#options.nowMs() < kept.untilMs && !this.#isToBeAskedAgain(kept)) return kept.value;
    this.#answers.delete(key);
    return undefined;
  }

  /** @param lifeMs nothing is kept when it is zero or less */
  set(key: string, value: T, lifeMs: number): void {
    if (lifeMs <= 0) return;
    const sinceMs = this.#options.nowMs();
    this.#answers.set(key, { value, sinceMs, untilMs: sinceMs + lifeMs, isRefused: false });
  }

  /** @returns whether something will be asked for anew because of it */
  refuse(print: string): boolean {
    let isWorthAnother = false;
    for (const [, kept] of this.#answers.entries()) {
      if (!this.#has(kept, print)) continue;
      kept.isRefused = true;
      isWorthAnother ||= this.#isToBeAskedAgain(kept);
    }
    return isWorthAnother;
  }

  *credentials(): Generator<Credential, void, undefined> {
    for (const [, { value }] of this.#answers.entries()) yield* this.#options.credentialsOf(value);
  }

  #has({ value }: Kept<T>, print: string): boolean {
    for (const credential of this.#options.credentialsOf(value)) if (fingerprint(credential) === print) return true;
    return false;
  }

  #isToBeAskedAgain({ isRefused, sinceMs }: Kept<T>): boolean {
    return isRefused && this.#options.nowMs() - sinceMs >= MIN_AGE_TO_ASK_AGAIN_MS;
  }
}
