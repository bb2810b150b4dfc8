import { constants, createInflateRaw, type InflateRaw } from 'node:zlib';
import { alignBits, SPAN_HEADROOM_BYTES } from '@soci/zlib';

/** What a raw inflate stream has to be told. */
export interface UnalignedInflateOptions {
  /** How many of the high bits of the first byte belong to the stream, 1 to 7; 0 when the whole byte does. */
  readonly bits: number;
  /** The 32,768 bytes before it. */
  readonly window: Uint8Array;
  /** Bytes that will come out: they arrive as parts of one buffer of that size. */
  readonly sizeBytes: number;
}

const MIN_CHUNK_BYTES = 64;

/**
 * An inflate stream for deflate data that begins inside a byte, fed as it arrives: empty deflate blocks are put in front that end where the
 * data's first bit is, so that nothing is shifted. The counterpart for data that is there as a whole is `inflateSpan`.
 */
export class UnalignedInflate {
  readonly stream: InflateRaw;
  #bits: number;

  constructor({ bits, window, sizeBytes }: UnalignedInflateOptions) {
    this.#bits = bits;
    this.stream = createInflateRaw({
      dictionary: window,
      chunkSize: Math.max(MIN_CHUNK_BYTES, sizeBytes),
      finishFlush: constants.Z_SYNC_FLUSH,
    });
  }

  /** @param bytes not changed, and not to be changed until the stream has taken them */
  write(bytes: Uint8Array): void {
    const [first] = bytes;
    if (this.#bits === 0 || first === undefined) {
      this.stream.write(bytes);
      return;
    }
    const head = new Uint8Array(SPAN_HEADROOM_BYTES + 1);
    head[SPAN_HEADROOM_BYTES] = first;
    this.stream.write(head.subarray(alignBits(head, SPAN_HEADROOM_BYTES, this.#bits)));
    this.#bits = 0;
    if (bytes.length > 1) this.stream.write(bytes.subarray(1));
  }
}
