import { BoundedMap } from './bounded-map.ts';
import { fingerprint, type Credential } from './credential.ts';
import type { CacheKeyType } from './plugin-answer.ts';
import type { KeyringEntry } from './keyring.ts';

/** What a plugin said, and until when that is to be taken for what it would say now. */
export interface KeptAnswer {
  readonly entries: readonly KeyringEntry[];
  readonly sinceMs: number;
  readonly untilMs: number;
}

const MAX_ANSWERS = 1_000;
/** A plugin whose new answer is refused at once is not asked again in a loop. */
const MIN_AGE_TO_ASK_AGAIN_MS = 5_000;

/** Answers of one plugin, each for one image, one registry or all. One with a refused credential goes, unless it is but seconds old. */
export class PluginCache {
  readonly #nowMs: () => number;
  readonly #answers = new BoundedMap<string, KeptAnswer>(MAX_ANSWERS);
  readonly #refused = new WeakSet<KeptAnswer>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** The nearest answer that holds for an image: its own, its registry's, everybody's. */
  find(image: string): KeptAnswer | undefined {
    for (const type of ['Image', 'Registry', 'Global'] as const) {
      const key = cacheKey(type, image);
      const answer = this.#answers.get(key);
      if (answer === undefined) continue;
      if (this.#nowMs() < answer.untilMs && !this.#isToBeAskedAgain(answer)) return answer;
      this.#answers.delete(key);
    }
    return undefined;
  }

  add(type: CacheKeyType, image: string, answer: KeptAnswer): void {
    if (answer.untilMs > answer.sinceMs) this.#answers.set(cacheKey(type, image), answer);
  }

  /** @returns whether the plugin will be asked for something because of it */
  refuse(print: string): boolean {
    let isWorthAnother = false;
    for (const [, answer] of this.#answers.entries()) {
      if (!answer.entries.some(({ candidate }) => fingerprint(candidate.credential) === print)) continue;
      this.#refused.add(answer);
      isWorthAnother ||= this.#isToBeAskedAgain(answer);
    }
    return isWorthAnother;
  }

  *credentials(): Generator<Credential, void, undefined> {
    for (const [, { entries }] of this.#answers.entries()) for (const { candidate } of entries) yield candidate.credential;
  }

  #isToBeAskedAgain(answer: KeptAnswer): boolean {
    return this.#refused.has(answer) && this.#nowMs() - answer.sinceMs >= MIN_AGE_TO_ASK_AGAIN_MS;
  }
}

function cacheKey(type: CacheKeyType, image: string): string {
  if (type === 'Global') return type;
  return `${type} ${type === 'Image' ? image : image.slice(0, image.indexOf('/'))}`;
}
