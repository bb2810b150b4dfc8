import { AnswerCache } from './answer-cache.ts';
import type { Credential } from './credential.ts';
import type { KeyringEntry } from './keyring.ts';
import type { CacheKeyType } from './plugin-answer.ts';

const MAX_ANSWERS = 1_000;

/** Answers of one plugin, each for one image, one registry or all. */
export class PluginCache {
  readonly #answers: AnswerCache<readonly KeyringEntry[]>;

  constructor(nowMs: () => number) {
    this.#answers = new AnswerCache({
      max: MAX_ANSWERS,
      nowMs,
      credentialsOf: (entries) => entries.map(({ candidate }) => candidate.credential),
    });
  }

  /** The nearest answer that holds for an image: its own, its registry's, everybody's. */
  find(image: string): readonly KeyringEntry[] | undefined {
    const kept = (type: CacheKeyType): readonly KeyringEntry[] | undefined => this.#answers.get(cacheKey(type, image));
    return kept('Image') ?? kept('Registry') ?? kept('Global');
  }

  add(type: CacheKeyType, image: string, entries: readonly KeyringEntry[], lifeMs: number): void {
    this.#answers.set(cacheKey(type, image), entries, lifeMs);
  }

  /** @returns whether the plugin will be asked for something because of it */
  refuse(print: string): boolean {
    return this.#answers.refuse(print);
  }

  credentials(): Iterable<Credential> {
    return this.#answers.credentials();
  }
}

function cacheKey(type: CacheKeyType, image: string): string {
  if (type === 'Global') return type;
  return `${type} ${type === 'Image' ? image : image.slice(0, image.indexOf('/'))}`;
}
