import { Refused } from '../refusals.ts';

/** At a thousand requests a second of one node. */
const MAX_EACH = 65_536;
const MAX_ALL = 262_144;

export interface ReplayWindowOptions {
  readonly maxEach?: number;
  readonly maxAll?: number;
}

/** Remembers which requests were seen, of each node, for as long as they could be sent again. When it is full nothing is taken, rather than something twice. */
export class ReplayWindow {
  readonly #maxEach: number;
  readonly #maxAll: number;
  /** By node, by request id: when it expires. */
  readonly #seen = new Map<string, Map<string, number>>();
  #size = 0;

  constructor({ maxEach = MAX_EACH, maxAll = MAX_ALL }: ReplayWindowOptions = {}) {
    this.#maxEach = maxEach;
    this.#maxAll = maxAll;
  }

  get size(): number {
    return this.#size;
  }

  /** @throws {Refused} `REPLAYED`; `BUSY` when there is no room */
  take(node: string, requestId: Buffer, expiresAtMs: number, nowMs: number): void {
    const id = requestId.toString('latin1');
    const seen = this.#seen.get(node) ?? new Map<string, number>();
    if (seen.has(id)) throw new Refused('REPLAYED');
    this.#forget(node, seen, nowMs);
    if (this.#size >= this.#maxAll) for (const [other, ids] of this.#seen) this.#forget(other, ids, nowMs);
    if (seen.size >= this.#maxEach || this.#size >= this.#maxAll) throw new Refused('BUSY');
    seen.set(id, expiresAtMs);
    this.#seen.set(node, seen);
    this.#size++;
  }

  /** From the oldest on; clocks that differ let some stay a little longer. */
  #forget(node: string, seen: Map<string, number>, nowMs: number): void {
    for (const [id, expiresAtMs] of seen) {
      if (expiresAtMs >= nowMs) break;
      seen.delete(id);
      this.#size--;
    }
    if (seen.size === 0) this.#seen.delete(node);
  }
}
