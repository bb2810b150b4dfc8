import { constants, createInflateRaw, type InflateRaw } from 'node:zlib';

/** What a raw inflate stream has to be told. */
export interface UnalignedInflateOptions {
  /** How many of the high bits of the first byte belong to the stream, 1 to 7; 0 when the whole byte does. */
  readonly bits: number;
  /** The 32,768 bytes before it. */
  readonly window: Uint8Array;
  /** Bytes that will come out: they arrive as parts of one buffer of that size. */
  readonly sizeBytes: number;
}

const CODE_LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const MIN_CHUNK_BYTES = 64;
const PREFIXES = Array.from({ length: 8 }, (_, bits) => emptyBlocks(bits));

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
    const prefix = Uint8Array.from(PREFIXES[8 - this.#bits] ?? [0]);
    const last = prefix.length - 1;
    prefix[last] = (prefix[last] ?? 0) | (first & (0xff << (8 - this.#bits)));
    this.#bits = 0;
    this.stream.write(prefix);
    if (bytes.length > 1) this.stream.write(bytes.subarray(1));
  }
}

/** Empty deflate blocks (RFC 1951) whose length modulo 8 is `bits`: one of dynamic codes has 93 bits, those of fixed codes 10. */
function emptyBlocks(bits: number): Uint8Array {
  const stream: number[] = [];
  const put = (value: number, width: number): void => {
    for (let i = 0; i < width; i++) stream.push((value >> i) & 1);
  };
  if (bits % 2 === 1) {
    put(0b100, 3); // not the last block, dynamic codes
    put(0, 10); // 257 literal and length codes, 1 distance code
    put(15, 4); // all 19 code lengths follow
    for (const symbol of CODE_LENGTH_ORDER) put(symbol === 18 || symbol === 1 ? 1 : 0, 3);
    put(0b1111111_1, 8); // 138 zeros
    put(0b1101011_1, 8); // 118 zeros
    put(0, 3); // a length for the end of the block and one for a distance; the end of the block
  }
  while (stream.length % 8 !== bits) put(0b010, 10); // not the last block, fixed codes, the end of the block
  const bytes = new Uint8Array(Math.ceil(stream.length / 8));
  for (const [i, bit] of stream.entries()) bytes[i >> 3] = (bytes[i >> 3] ?? 0) | (bit << (i & 7));
  return bytes;
}
