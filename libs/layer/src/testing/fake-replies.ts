import type { ReplySink } from '../layer-spans.ts';

export type Reply = { readonly data: Uint8Array } | { readonly errno: number };

/** Keeps the answers to reads by their number. */
export class FakeReplies implements ReplySink {
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  readonly #early = new Map<number, Reply>();

  reply(uniqueLow: number, _uniqueHigh: number, data: Uint8Array): void {
    this.#put(uniqueLow, { data: data.slice() });
  }

  replyError(uniqueLow: number, _uniqueHigh: number, errno: number): void {
    this.#put(uniqueLow, { errno });
  }

  /** The answer to a read, once it is there. */
  of(unique: number): Promise<Reply> {
    const early = this.#early.get(unique);
    if (early !== undefined) return Promise.resolve(early);
    return new Promise((resolve) => this.#waiting.set(unique, resolve));
  }

  has(unique: number): boolean {
    return this.#early.has(unique);
  }

  #put(unique: number, reply: Reply): void {
    if (this.#early.has(unique)) throw new Error(`read ${unique} answered twice`);
    this.#early.set(unique, reply);
    this.#waiting.get(unique)?.(reply);
  }
}
