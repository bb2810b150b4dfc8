/** Reads that may wait for one layer at a time; see the FUSE contract: the bound is ours, not the kernel's. */
export const MAX_WAITING_READS = 16_384;

const FIRST_CAPACITY = 64;
const NONE = -1;

/**
 * The reads of one layer that wait for bytes: columns of numbers, chained by the span they wait for. Nothing is allocated per read; the columns
 * double up to `MAX_WAITING_READS`.
 */
export class ReadTable {
  uniqueLow = new Uint32Array(0);
  uniqueHigh = new Uint32Array(0);
  offsetBytes = new Float64Array(0);
  sizeBytes = new Uint32Array(0);
  deadlineMs = new Float64Array(0);
  #next = new Int32Array(0);
  #free = NONE;
  #used = 0;
  readonly #heads = new Map<number, number>();

  /** How many reads wait. */
  get size(): number {
    return this.#used;
  }

  /** Takes a read in, waiting for `span`; the row, or -1 when the table is full. */
  add(span: number, uniqueLow: number, uniqueHigh: number, offsetBytes: number, sizeBytes: number, deadlineMs: number): number {
    if (this.#free === NONE && !this.#grow()) return NONE;
    const row = this.#free;
    this.#free = this.#next[row] ?? NONE;
    this.#used++;
    this.uniqueLow[row] = uniqueLow;
    this.uniqueHigh[row] = uniqueHigh;
    this.offsetBytes[row] = offsetBytes;
    this.sizeBytes[row] = sizeBytes;
    this.deadlineMs[row] = deadlineMs;
    this.#chain(span, row);
    return row;
  }

  /** Lets a row, taken off its chain before, wait for another span. */
  wait(row: number, span: number): void {
    this.#chain(span, row);
  }

  hasWaiting(span: number): boolean {
    return this.#heads.has(span);
  }

  /** The spans that reads wait for. */
  spans(): IterableIterator<number> {
    return this.#heads.keys();
  }

  /** Takes the chain of a span off the table; follow it with `next`, then `free` or `wait` each row. -1 when nothing waits. */
  take(span: number): number {
    const head = this.#heads.get(span) ?? NONE;
    this.#heads.delete(span);
    return head;
  }

  /** The row after `row` in its chain, -1 at the end. Read it before the row is freed or chained again. */
  next(row: number): number {
    return this.#next[row] ?? NONE;
  }

  free(row: number): void {
    this.#next[row] = this.#free;
    this.#free = row;
    this.#used--;
  }

  #chain(span: number, row: number): void {
    this.#next[row] = this.#heads.get(span) ?? NONE;
    this.#heads.set(span, row);
  }

  #grow(): boolean {
    const before = this.#next.length;
    if (before >= MAX_WAITING_READS) return false;
    const capacity = Math.max(FIRST_CAPACITY, before * 2);
    this.uniqueLow = grown(this.uniqueLow, new Uint32Array(capacity));
    this.uniqueHigh = grown(this.uniqueHigh, new Uint32Array(capacity));
    this.offsetBytes = grown(this.offsetBytes, new Float64Array(capacity));
    this.sizeBytes = grown(this.sizeBytes, new Uint32Array(capacity));
    this.deadlineMs = grown(this.deadlineMs, new Float64Array(capacity));
    this.#next = grown(this.#next, new Int32Array(capacity));
    for (let row = capacity - 1; row >= before; row--) {
      this.#next[row] = this.#free;
      this.#free = row;
    }
    return true;
  }
}

function grown<T extends { set(from: ArrayLike<number>): void } & ArrayLike<number>>(from: T, to: T): T {
  to.set(from);
  return to;
}
