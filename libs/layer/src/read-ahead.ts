const MAX_STREAMS = 16;
/** A reader that goes on into the next span reads its beginning: the kernel's own read-ahead is at most a quarter of this. */
const BEGINNING_BYTES = 256 << 10;

/** A read of spans of which one is touched for the first time. */
export interface Touch {
  /** First and last span it covers. */
  readonly first: number;
  readonly last: number;
  /** Where in the first span it begins. */
  readonly offsetInSpanBytes: number;
  /** Last span of the file that runs over the end of `last`; `last` when none does. */
  readonly fileEndsInSpan: number;
}

interface Stream {
  /** The span that would continue it. */
  next: number;
  /** How often it was continued. */
  run: number;
}

/**
 * Tells sequential readers of one layer from random ones, by the spans they touch first, and says how far to be ahead of them. Several readers are
 * told apart. A span costs a megabyte: one is fetched in advance only where a reader went on from the end of one span into the
 * beginning of the next, inside a file that runs on, or twice in a row from file to file; from then on the window doubles.
 */
export class ReadAhead {
  /** Most recently used last. */
  readonly #streams: Stream[] = [];
  readonly #maxWindowSpans: number;

  /** @param maxWindowSpans how far ahead a reader that never jumped is followed */
  constructor(maxWindowSpans: number) {
    this.#maxWindowSpans = maxWindowSpans;
  }

  /** @returns how many spans after `last` should be on their way */
  touch({ first, last, offsetInSpanBytes, fileEndsInSpan }: Touch): number {
    const index = this.#streams.findIndex(({ next }) => first === next || (first < next && last >= next));
    const isFollowing = index >= 0 && (last > first || offsetInSpanBytes <= BEGINNING_BYTES);
    const run = isFollowing ? (this.#streams[index]?.run ?? 0) + 1 : 0;
    if (index >= 0) this.#streams.splice(index, 1);
    this.#streams.push({ next: last + 1, run });
    if (this.#streams.length > MAX_STREAMS) this.#streams.shift();
    const inFile = Math.min(run === 0 ? 0 : 2 ** (run - 1), fileEndsInSpan - last);
    const beyond = run < 2 ? 0 : 2 ** (run - 2);
    return Math.min(this.#maxWindowSpans, Math.max(inFile, beyond));
  }
}
