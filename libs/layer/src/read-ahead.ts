const MAX_STREAMS = 16;

interface Stream {
  /** The span that would continue it. */
  next: number;
  /** Spans to have ahead of the reader. */
  windowSpans: number;
}

/**
 * Tells sequential readers of one layer from random ones, by the spans they touch first. Several readers are told apart. A span that follows
 * a touched one doubles that reader's window, anything else starts a reader anew, with no window.
 */
export class ReadAhead {
  /** Most recently used last. */
  readonly #streams: Stream[] = [];
  readonly #maxWindowSpans: number;

  /** @param maxWindowSpans how far ahead a reader that never jumped is followed */
  constructor(maxWindowSpans: number) {
    this.#maxWindowSpans = maxWindowSpans;
  }

  /**
   * @param first first span that a read covers
   * @param last last span of it, not below `first`
   * @returns how many spans after `last` should be on their way
   */
  touch(first: number, last: number): number {
    const index = this.#streams.findIndex(({ next }) => first === next || first === next - 1);
    const stream = index < 0 ? { next: -1, windowSpans: 0 } : this.#streams.splice(index, 1)[0];
    if (stream === undefined) return 0;
    if (index >= 0 && last >= stream.next) stream.windowSpans = Math.min(this.#maxWindowSpans, Math.max(1, stream.windowSpans * 2));
    stream.next = Math.max(stream.next, last + 1);
    this.#streams.push(stream);
    if (this.#streams.length > MAX_STREAMS) this.#streams.shift();
    return stream.windowSpans;
  }
}
