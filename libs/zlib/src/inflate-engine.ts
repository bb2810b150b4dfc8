/** zlib's answers, as far as they are told apart. */
export const STATUS = { ok: 0, streamEnd: 1, bufferError: -5 } as const;

/** Gzip only, with the largest window. A layer in a zlib wrapper is no layer. */
export const GZIP_WINDOW_BITS = 31;
/** Stop after each header and at each end of a block. */
export const Z_BLOCK = 5;

/** 256 KiB in and 1 MiB out (behind the history) were the fastest of those measured. */
export const INPUT_BYTES = 256 * 1024;
export const HISTORY_BYTES = 32768;
export const OUTPUT_BYTES = HISTORY_BYTES + 1024 * 1024;

/** One inflate state with its buffers. Dispose it: the state may live outside the JavaScript heap. */
export interface BlockInflater extends Disposable {
  /** Compressed bytes go here before `setInput`. The buffer must not be transferred to another thread. */
  readonly input: Uint8Array;
  /** Where output appears. The same holds. Bytes after those that were produced may be overwritten at will. */
  readonly output: Uint8Array;
  /** How many bytes of the input were not read yet. */
  readonly availableIn: number;
  /** What inflate says about where it stopped: low three bits = unused bits of the last byte read, 64 = in the last block, 128 = at the end of a block or header. */
  readonly dataType: number;
  /** Makes `length` bytes from the start of `input` the next to be read. */
  setInput(length: number): void;
  /** Inflates to `output` from `start` until the end of a block, of the input or of the output, and returns zlib's status. */
  inflate(start: number): number;
  /** How many bytes the last `inflate` produced. */
  readonly produced: number;
  /** Expects a gzip header next; the input stays. */
  reset(): void;
}

/** A zlib that can stop at the ends of blocks. */
export interface InflateEngine {
  readonly name: 'native' | 'pako';
  /** @throws {ZlibError} `ENGINE_UNAVAILABLE` when no state can be had */
  open(): BlockInflater;
}
