/** Bytes that must be free in front of a span's compressed bytes: the longest prefix is 13 bytes. */
export const SPAN_HEADROOM_BYTES = 16;

/** The order in which a dynamic block lists its code length codes (RFC 1951, 3.2.7). */
const CODE_LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/**
 * Bit strings of empty deflate blocks, by their length modulo 8. An empty block of fixed Huffman codes is 10 bits long, an empty one
 * of dynamic codes with all 19 code lengths written out is 93: between them every length modulo 8 can be had.
 */
const EMPTY_BLOCKS = Array.from({ length: 8 }, (_, bits) => emptyBlocks(bits));

/**
 * Makes a deflate stream that starts inside a byte start at a byte border, without shifting it: stored blocks are aligned to the
 * original byte borders, which a shift would break. Empty blocks are put in front that end where the stream's first bit is.
 *
 * @param buffer holds the stream from `start` on, with at least `SPAN_HEADROOM_BYTES` free before it; changed in place
 * @param bits how many of the high bits of the first byte belong to the stream, 1 to 7; 0 when the whole byte does
 * @returns where the stream starts now
 */
export function alignBits(buffer: Uint8Array, start: number, bits: number): number {
  if (bits === 0) return start;
  const prefix = EMPTY_BLOCKS[8 - bits] ?? new Uint8Array(1);
  const last = prefix.length - 1;
  const spare = (0xff << (8 - bits)) & 0xff;
  buffer[start] = ((buffer[start] ?? 0) & spare) | (prefix[last] ?? 0);
  for (let i = 0; i < last; i++) buffer[start - last + i] = prefix[i] ?? 0;
  return start - last;
}

/** Empty blocks whose length modulo 8 is `bits`; the last byte holds that many bits. */
function emptyBlocks(bits: number): Uint8Array {
  const stream: number[] = [];
  const put = (value: number, width: number) => {
    for (let i = 0; i < width; i++) stream.push((value >> i) & 1);
  };
  if (bits % 2 === 1) putEmptyDynamicBlock(put);
  while (stream.length % 8 !== bits) {
    put(0, 1); // not the last block
    put(1, 2); // fixed codes
    put(0, 7); // end of block
  }
  const bytes = new Uint8Array(Math.ceil(stream.length / 8));
  for (const [i, bit] of stream.entries()) bytes[i >> 3] = (bytes[i >> 3] ?? 0) | (bit << (i & 7));
  return bytes;
}

function putEmptyDynamicBlock(put: (value: number, width: number) => void): void {
  put(0, 1); // not the last block
  put(2, 2); // dynamic codes
  put(0, 5); // 257 literal and length codes
  put(0, 5); // 1 distance code
  put(15, 4); // 19 code length codes
  for (const symbol of CODE_LENGTH_ORDER) put(symbol === 18 || symbol === 1 ? 1 : 0, 3); // 1 is coded as 0, 18 as 1
  put(1, 1);
  put(127, 7); // 138 zeros
  put(1, 1);
  put(107, 7); // 118 zeros: no literal has a code
  put(0, 1); // end of block: length 1
  put(0, 1); // the one distance code: length 1
  put(0, 1); // end of block
}
