import { setImmediate as nextTurn } from 'node:timers/promises';

/** Pieces of less than this are joined when more is there already. */
const SMALL_BYTES = 64 << 10;

/**
 * Joins small pieces that have arrived by now, and splits large ones, so that a message carries neither a few bytes nor many megabytes.
 * Nothing waits for more to come.
 * @param maxBytes of a piece that comes out
 */
export async function* joinPieces(source: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<Uint8Array> {
  const pieces = new Arrivals(source);
  try {
    for (let piece = await pieces.next(); piece !== undefined; piece = await pieces.next()) {
      const joined = [piece];
      let length = piece.length;
      while (length < SMALL_BYTES) {
        const more = await pieces.nextIfHere(maxBytes - length);
        if (more === undefined) break;
        joined.push(more);
        length += more.length;
      }
      const whole = joined.length === 1 ? piece : Buffer.concat(joined, length);
      for (let at = 0; at < length; at += maxBytes) yield at === 0 && length <= maxBytes ? whole : whole.subarray(at, at + maxBytes);
    }
  } finally {
    await pieces.stop();
  }
}

/** An iterator that always has the next step under way. */
class Arrivals {
  readonly #iterator: AsyncIterator<Uint8Array>;
  #step: Promise<IteratorResult<Uint8Array>> | undefined;
  #here: IteratorResult<Uint8Array> | undefined;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#iterator = source[Symbol.asyncIterator]();
  }

  async next(): Promise<Uint8Array | undefined> {
    const result = await this.#ahead();
    this.#step = undefined;
    return result.done === true ? undefined : result.value;
  }

  /** The next piece if it has arrived and is not too long. */
  async nextIfHere(maxBytes: number): Promise<Uint8Array | undefined> {
    void this.#ahead();
    await nextTurn();
    const here = this.#here;
    return here === undefined || here.done === true || here.value.length > maxBytes ? undefined : await this.next();
  }

  async stop(): Promise<void> {
    if (this.#step === undefined) await this.#iterator.return?.();
    else void this.#step.then(() => this.#iterator.return?.()).catch(() => undefined); // its failure has nobody to go to any more
  }

  #ahead(): Promise<IteratorResult<Uint8Array>> {
    if (this.#step !== undefined) return this.#step;
    this.#here = undefined;
    const step = this.#iterator.next();
    step.then(
      (result) => (this.#here = result),
      () => undefined, // whoever takes the step hears of it
    );
    return (this.#step = step);
  }
}
