import { hash } from 'node:crypto';

/** Bytes that outlive the process: a descriptor of memory, or what stands in for one. Both calls do all of it or throw. */
export interface Memory {
  readonly sizeBytes: number;
  read(into: Uint8Array, at: number): void;
  write(from: Uint8Array, at: number): void;
}

export const RECORD_KIND = { entry: 1, secret: 2 } as const;
export type RecordKind = (typeof RECORD_KIND)[keyof typeof RECORD_KIND];

/** What a record is known by to whoever wrote it. */
export interface KeptRecord {
  readonly blocks: readonly number[];
  /** Of two records about the same thing the one with the higher number was written last. */
  readonly version: number;
  /** Over kind, version and body: no two records have the same. Lower-case hexadecimal. */
  readonly checksum: string;
}

export const BLOCK_BYTES = 256;
/** Numbers beside a record that change in place. */
export const WORDS = 4;
/** The longest secret with the longest user name in UTF-8, and something for what is written around them. */
export const MAX_BODY_BYTES = 32 << 10;

/** Where things are in the header, block 0. */
export const HEADER = { magic: 0, version: 8, blockBytes: 12, blocks: 16, end: 20, generation: 24 } as const;
/** Where things are in the first block of a record. The first two are in every block. */
export const HEAD = { kind: 0, next: 4, version: 8, sizeBytes: 16, checksum: 24, words: 40, body: 72 } as const;
/** Where the body goes on in a later block of a record. */
export const LATER_BODY = 8;
export const CHECKSUM_BYTES = 16;

/** How many blocks a body takes. */
export function blocksFor(sizeBytes: number): number {
  return 1 + Math.max(0, Math.ceil((sizeBytes - (BLOCK_BYTES - HEAD.body)) / (BLOCK_BYTES - LATER_BODY)));
}

/** @param head the first bytes of a record, of which only what never changes counts */
export function checksumOf(head: Buffer, body: Uint8Array): Buffer {
  const fixed = Buffer.concat([head.subarray(HEAD.kind, HEAD.next), head.subarray(HEAD.version, HEAD.checksum), body]);
  const digest = hash('sha256', fixed, 'buffer');
  fixed.fill(0);
  return digest.subarray(0, CHECKSUM_BYTES);
}

/** Parts of a list of blocks that are neighbours in memory. */
export function* runsOf(
  blocks: readonly number[],
  from = 0,
): Generator<{ readonly first: number; readonly index: number; readonly count: number }> {
  let index = from;
  while (index < blocks.length) {
    const first = blocks[index] ?? 0;
    let count = 1;
    while (blocks[index + count] === first + count) count++;
    yield { first, index, count };
    index += count;
  }
}
