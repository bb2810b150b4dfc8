import type { Memory } from '../record-layout.ts';

/** Memory that remembers each write, and can show how it was at any moment between two of them, or in the middle of one. */
export class TornMemory implements Memory {
  readonly sizeBytes: number;
  readonly bytes: Buffer;
  readonly writes: { readonly at: number; readonly bytes: Buffer }[] = [];

  readonly #first: Buffer;

  /** @param first what is in it; zeros where a size is given */
  constructor(first: number | Buffer) {
    this.#first = typeof first === 'number' ? Buffer.alloc(first) : first;
    this.sizeBytes = this.#first.length;
    this.bytes = Buffer.from(this.#first);
  }

  read(into: Uint8Array, at: number): void {
    if (at + into.length > this.sizeBytes) throw new RangeError(`read at ${at}`);
    into.set(this.bytes.subarray(at, at + into.length));
  }

  write(from: Uint8Array, at: number): void {
    if (at + from.length > this.sizeBytes) throw new RangeError(`write at ${at}`);
    this.bytes.set(from, at);
    this.writes.push({ at, bytes: Buffer.from(from) });
  }

  /** What is there after some of the writes, and those bytes of the next one that `isDone` says. */
  after(writes: number, isDone: (index: number) => boolean = () => false): TornMemory {
    const then = new TornMemory(this.#first);
    for (const { at, bytes } of this.writes.slice(0, writes)) then.bytes.set(bytes, at);
    const torn = this.writes[writes];
    for (const [index, byte] of torn?.bytes.entries() ?? []) if (isDone(index)) then.bytes[(torn?.at ?? 0) + index] = byte;
    return then;
  }
}

/** Numbers that look random and are the same in each run: 0 and up, below `limit`. */
export function randomFrom(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}
