import { crc32 } from 'node:zlib';

/** Gzip streams for tests whose block borders are known to the bit: made here, not by a compressor. */

/** `length` bytes, byte i = (i * step + (i >> 8)) mod 256. */
export function makeData(length: number, step: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => i * step + (i >> 8)));
}

/** Stored blocks of so many bytes, the last one final. */
export function deflateStored(data: Uint8Array, blockBytes: number): Buffer {
  const blocks: Uint8Array[] = [];
  for (let at = 0; at < data.length; at += blockBytes) {
    const block = data.subarray(at, at + blockBytes);
    const header = Buffer.alloc(5);
    header[0] = at + blockBytes >= data.length ? 1 : 0;
    header.writeUInt16LE(block.length, 1);
    header.writeUInt16LE(block.length ^ 0xffff, 3);
    blocks.push(header, block);
  }
  return Buffer.concat(blocks);
}

/** Blocks of fixed Huffman codes, literals only. */
export function deflateFixed(data: Uint8Array, blockBytes: number): Buffer {
  const bytes: number[] = [];
  let held = 0;
  let bits = 0;
  const put = (value: number, width: number) => {
    for (let i = 0; i < width; i++) {
      held |= ((value >> i) & 1) << bits++;
      if (bits < 8) continue;
      bytes.push(held);
      held = 0;
      bits = 0;
    }
  };
  const putCode = (code: number, width: number) => {
    for (let i = width - 1; i >= 0; i--) put((code >> i) & 1, 1);
  };
  for (let at = 0; at < data.length; at += blockBytes) {
    put(at + blockBytes >= data.length ? 1 : 0, 1);
    put(1, 2);
    for (const byte of data.subarray(at, at + blockBytes)) {
      if (byte < 144) putCode(0x30 + byte, 8);
      else putCode(0x190 + byte - 144, 9);
    }
    putCode(0, 7);
  }
  if (bits > 0) bytes.push(held);
  return Buffer.from(bytes);
}

export interface GzipHeader {
  readonly extra?: string;
  readonly name?: string;
  readonly comment?: string;
}

/** A gzip member: header, deflate stream, checksum and length of the data. */
export function gzipMember(deflated: Uint8Array, data: Uint8Array, { extra, name, comment }: GzipHeader = {}): Buffer {
  const flags = (extra === undefined ? 0 : 4) | (name === undefined ? 0 : 8) | (comment === undefined ? 0 : 16);
  const parts = [Buffer.from([0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 0xff])];
  if (extra !== undefined) parts.push(Buffer.from([extra.length & 0xff, extra.length >> 8]), Buffer.from(extra));
  if (name !== undefined) parts.push(Buffer.from(`${name}\0`));
  if (comment !== undefined) parts.push(Buffer.from(`${comment}\0`));
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc32(data), 0);
  trailer.writeUInt32LE(data.length, 4);
  return Buffer.concat([...parts, deflated, trailer]);
}
