/** Bytes that go to the thread in one message. */
const BATCH_BYTES = 64 << 10;

/** How a writer speaks to the thread. */
export interface SpanLink {
  /** The buffer is handed over. */
  send(bytes: Uint8Array<ArrayBuffer>, isLast: boolean): void;
  abandon(): void;
  readonly result: Promise<number>;
}

/** Hands a span's compressed bytes to the thread that stores them, as they come. */
export class SpanWriter {
  readonly #link: SpanLink;
  #left: number;
  #batch: Uint8Array<ArrayBuffer>;
  #filled = 0;

  /** @param lengthBytes of the span in the blob, at least 1 */
  constructor(link: SpanLink, lengthBytes: number) {
    this.#link = link;
    this.#left = lengthBytes;
    this.#batch = new Uint8Array(Math.min(BATCH_BYTES, lengthBytes));
  }

  /** All bytes of the span were pushed: the thread finishes it. */
  get isComplete(): boolean {
    return this.#left === 0;
  }

  /**
   * Copies what the span still lacks.
   * @returns how many bytes were taken
   */
  push(bytes: Uint8Array): number {
    let taken = 0;
    while (taken < bytes.length && this.#left > 0) {
      const part = bytes.subarray(taken, taken + this.#batch.length - this.#filled);
      this.#batch.set(part, this.#filled);
      this.#filled += part.length;
      this.#left -= part.length;
      taken += part.length;
      if (this.#filled === this.#batch.length) this.#flush();
    }
    return taken;
  }

  /**
   * Checksum of the inflated bytes, once they are checked and in the data file.
   * @throws {LayerError} `DIGEST_MISMATCH`, `SPAN_INVALID`, `HEADER_MISMATCH`, `STORE_BROKEN`, `CLOSED`
   */
  get stored(): Promise<number> {
    return this.#link.result;
  }

  /** The rest will not come. */
  abandon(): void {
    this.#link.abandon();
  }

  #flush(): void {
    const batch = this.#batch;
    this.#batch = new Uint8Array(Math.min(BATCH_BYTES, this.#left));
    this.#filled = 0;
    this.#link.send(batch, this.#left === 0);
  }
}
