import { type BlockInflater, HISTORY_BYTES, type InflateEngine, STATUS } from './inflate-engine.ts';
import { ZlibError } from './zlib-error.ts';

const GZIP_MAGIC = 0x1f;
/** Bits of `dataType`. */
const UNUSED_BITS = 7;
const LAST_BLOCK = 64;
const BLOCK_END = 128;
/** An inflate that neither reads nor writes this often will never. */
const MAX_IDLE_CALLS = 3;

/** A place in a gzip stream where decoding can start. */
export interface Checkpoint {
  /** Offset in the compressed stream of the first byte that is wholly unread. */
  readonly inputOffset: number;
  /** Offset in the uncompressed stream, over all members. */
  readonly outputOffset: number;
  /** How many high bits of the byte before `inputOffset` are still unread, 0 to 7. */
  readonly bits: number;
  /** The 32,768 uncompressed bytes before, over all members; zeros where there are none. A copy. */
  readonly window: Uint8Array;
}

export interface CheckpointedInflateOptions {
  readonly engine: InflateEngine;
  /** A checkpoint is made at the first end of a block that is more than this after the last one. */
  readonly spanSizeBytes: number;
  readonly onCheckpoint: (checkpoint: Checkpoint) => void;
  /** Uncompressed bytes in order: `bytes` from `start` to `end`, exclusive, valid during the call. */
  readonly onOutput: (bytes: Uint8Array, start: number, end: number) => void;
}

/**
 * Inflates a gzip stream of one or more members that is pushed in pieces, and finds the places where decoding can start again: after the first header, then at
 * ends of blocks. The places depend on the stream and the span size alone, not on how it is cut into pieces. Zero bytes after the last member are skipped.
 *
 * The output before a checkpoint is kept in front of the output buffer, not in a circular window: inflate may scribble past what it has produced.
 */
export class CheckpointedInflate implements Disposable {
  readonly #options: CheckpointedInflateOptions;
  readonly #inflater: BlockInflater;
  #inputOffset = 0;
  #outputOffset = 0;
  #lastCheckpoint = 0;
  /** Where in the output buffer the next byte goes, and up to where it was handed on. */
  #position = HISTORY_BYTES;
  #handedOn = HISTORY_BYTES;
  #state: 'member' | 'between' | 'padding' = 'member';
  #idleCalls = 0;

  /** @throws {ZlibError} `ENGINE_UNAVAILABLE` */
  constructor(options: CheckpointedInflateOptions) {
    this.#options = options;
    this.#inflater = options.engine.open();
  }

  /** Where compressed bytes are put for `push`. It belongs to this object: never transfer it. */
  get input(): Uint8Array {
    return this.#inflater.input;
  }

  /**
   * Takes `length` bytes from the start of `input` as the next of the stream.
   *
   * @throws {ZlibError} `DATA_CORRUPT`, also for a wrong checksum; `TRAILING_DATA` when neither a member nor zeros follow a member
   */
  push(length: number): void {
    const inflater = this.#inflater;
    inflater.setInput(length);
    while (inflater.availableIn > 0) {
      if (this.#state === 'padding') this.#skipPadding(length);
      else if (this.#state === 'between') this.#startMember(length);
      else this.#inflate();
    }
    this.#handOn();
  }

  /**
   * Says that the stream is at its end.
   *
   * @throws {ZlibError} `DATA_TRUNCATED` when that is inside a member, or before the first
   */
  finish(): void {
    if (this.#state === 'member') throw new ZlibError('DATA_TRUNCATED', `gzip stream ends inside a member at ${this.#inputOffset}`);
  }

  [Symbol.dispose](): void {
    this.#inflater[Symbol.dispose]();
  }

  #inflate(): void {
    const inflater = this.#inflater;
    if (this.#position === inflater.output.length) this.#slide();
    const before = inflater.availableIn;
    const status = inflater.inflate(this.#position);
    const { produced } = inflater;
    const consumed = before - inflater.availableIn;
    this.#inputOffset += consumed;
    this.#outputOffset += produced;
    this.#position += produced;
    if (status === STATUS.streamEnd) {
      this.#state = 'between';
      return;
    }
    if (status !== STATUS.ok && status !== STATUS.bufferError) throw this.#corrupt(`status ${status}`);
    this.#idleCalls = consumed === 0 && produced === 0 ? this.#idleCalls + 1 : 0;
    if (this.#idleCalls > MAX_IDLE_CALLS) throw this.#corrupt('no progress');
    this.#considerCheckpoint(inflater.dataType);
  }

  #considerCheckpoint(dataType: number): void {
    if ((dataType & BLOCK_END) === 0 || (dataType & LAST_BLOCK) !== 0) return;
    if (this.#outputOffset !== 0 && this.#outputOffset - this.#lastCheckpoint <= this.#options.spanSizeBytes) return;
    this.#lastCheckpoint = this.#outputOffset;
    this.#options.onCheckpoint({
      inputOffset: this.#inputOffset,
      outputOffset: this.#outputOffset,
      bits: dataType & UNUSED_BITS,
      window: this.#inflater.output.slice(this.#position - HISTORY_BYTES, this.#position),
    });
  }

  #startMember(length: number): void {
    const inflater = this.#inflater;
    const next = inflater.input[length - inflater.availableIn];
    if (next === 0) {
      this.#state = 'padding';
    } else if (next === GZIP_MAGIC) {
      inflater.reset();
      this.#state = 'member';
    } else {
      throw new ZlibError('TRAILING_DATA', `bytes after the last gzip member, at ${this.#inputOffset}`);
    }
  }

  #skipPadding(length: number): void {
    const { input, availableIn } = this.#inflater;
    for (let i = length - availableIn; i < length; i++) {
      if (input[i] !== 0)
        throw new ZlibError('TRAILING_DATA', `bytes after the zeros that follow the last gzip member, at ${this.#inputOffset}`);
      this.#inputOffset++;
    }
    this.#inflater.setInput(0);
  }

  #slide(): void {
    const { output } = this.#inflater;
    this.#handOn();
    output.copyWithin(0, this.#position - HISTORY_BYTES, this.#position);
    this.#position = HISTORY_BYTES;
    this.#handedOn = HISTORY_BYTES;
  }

  #handOn(): void {
    if (this.#handedOn === this.#position) return;
    this.#options.onOutput(this.#inflater.output, this.#handedOn, this.#position);
    this.#handedOn = this.#position;
  }

  #corrupt(why: string): ZlibError {
    return new ZlibError('DATA_CORRUPT', `gzip stream broken near ${this.#inputOffset}: ${why}`);
  }
}
