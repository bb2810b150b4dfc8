/** Numbers that look random and are the same for the same seed and stream, so that a failure can be had again. */
export class Random {
  #state: number;

  /** @param stream tells apart what is drawn from one seed, e.g. the number of an input */
  constructor(seed: number, stream = 0) {
    this.#state = (Math.imul(seed, 0x9e37_79b1) ^ Math.imul(stream + 1, 0x85eb_ca6b)) >>> 0;
  }

  /** A whole number of 32 bits. */
  word(): number {
    this.#state = (this.#state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** A whole number from 0 up to `limit`, exclusive; 0 when that is 0. */
  below(limit: number): number {
    return Math.floor((this.word() / 2 ** 32) * limit);
  }

  chance(probability: number): boolean {
    return this.word() / 2 ** 32 < probability;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError('nothing to pick from');
    return item;
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length);
    for (let at = 0; at < length; at += 4)
      bytes.writeUIntLE(this.word() % 2 ** (8 * Math.min(4, length - at)), at, Math.min(4, length - at));
    return bytes;
  }
}

/** The seed of a test: the one in the environment, or a new one. */
export function seedFrom(text: string | undefined): number {
  if (text === undefined) return Math.floor(Math.random() * 2 ** 31);
  if (!/^[0-9]{1,10}$/.test(text)) throw new Error(`no seed: ${text}`);
  return Number(text);
}
