import {
  BLOCK_BYTES,
  blocksFor,
  CHECKSUM_BYTES,
  checksumOf,
  HEAD,
  LATER_BODY,
  MAX_BODY_BYTES,
  RECORD_KIND,
  WORDS,
  type KeptRecord,
  type Memory,
  type RecordKind,
} from './record-layout.ts';

/** One record as it was found. */
export interface FoundRecord {
  readonly record: KeptRecord;
  readonly kind: RecordKind;
  /** A copy; whoever takes it overwrites it. */
  readonly body: Buffer;
  readonly words: readonly number[];
}

const WINDOW_BYTES = 64 << 10;
const NO_BLOCK = Buffer.alloc(BLOCK_BYTES);

/**
 * Finds the records that were written to their end, in the order of their heads. Nothing in the memory is trusted: a link that leads out of what was used, to a
 * block of another record or in a circle, a size above the limit and a wrong checksum each make it no record.
 *
 * @param end the first block that was never used
 * @returns with them, one byte for each block below `end`: 1 for the header and for blocks of a record
 */
export function scanRecords(memory: Memory, end: number): { readonly found: readonly FoundRecord[]; readonly taken: Uint8Array } {
  const taken = new Uint8Array(end);
  taken[0] = 1;
  const found: FoundRecord[] = [];
  for (const { block, bytes } of eachBlock(memory, end)) {
    if (taken[block] === 1 || bytes.readUInt32LE(HEAD.kind) === 0) continue;
    const record = readRecord(memory, block, taken);
    if (record === undefined) continue;
    for (const part of record.record.blocks) taken[part] = 1;
    found.push(record);
  }
  return { found, taken };
}

/** Overwrites what no record has. @returns those blocks, the lowest last */
export function overwriteUnused(memory: Memory, taken: Uint8Array): number[] {
  const free: number[] = [];
  for (const { block, bytes } of eachBlock(memory, taken.length)) {
    if (taken[block] === 1) continue;
    if (!bytes.equals(NO_BLOCK)) memory.write(NO_BLOCK, block * BLOCK_BYTES);
    free.push(block);
  }
  return free.reverse();
}

/** The bytes are good until the next block. */
function* eachBlock(memory: Memory, end: number): Generator<{ readonly block: number; readonly bytes: Buffer }> {
  const window = Buffer.alloc(WINDOW_BYTES);
  try {
    for (let first = 1; first < end; first += WINDOW_BYTES / BLOCK_BYTES) {
      const count = Math.min(WINDOW_BYTES / BLOCK_BYTES, end - first);
      memory.read(window.subarray(0, count * BLOCK_BYTES), first * BLOCK_BYTES);
      for (let index = 0; index < count; index++) {
        yield { block: first + index, bytes: window.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES) };
      }
    }
  } finally {
    window.fill(0);
  }
}

function readRecord(memory: Memory, first: number, taken: Uint8Array): FoundRecord | undefined {
  const head = Buffer.alloc(HEAD.body);
  memory.read(head, first * BLOCK_BYTES);
  const kind = head.readUInt32LE(HEAD.kind);
  const version = head.readDoubleLE(HEAD.version);
  const sizeBytes = head.readUInt32LE(HEAD.sizeBytes);
  if (kind !== RECORD_KIND.entry && kind !== RECORD_KIND.secret) return undefined;
  if (!Number.isSafeInteger(version) || version < 1 || sizeBytes > MAX_BODY_BYTES) return undefined;
  const body = Buffer.alloc(sizeBytes);
  const blocks = readChain(memory, first, body, taken);
  const checksum = checksumOf(head, body);
  if (blocks === undefined || !checksum.equals(head.subarray(HEAD.checksum, HEAD.checksum + CHECKSUM_BYTES))) {
    body.fill(0);
    return undefined;
  }
  const words = Array.from({ length: WORDS }, (_, index) => head.readDoubleLE(HEAD.words + index * 8));
  return { record: { blocks, version, checksum: checksum.toString('hex') }, kind, body, words };
}

/** Follows the links and fills the body. @returns undefined when they lead astray, or on after the end */
function readChain(memory: Memory, first: number, body: Buffer, taken: Uint8Array): readonly number[] | undefined {
  const count = blocksFor(body.length);
  const blocks: number[] = [];
  let filled = 0;
  let next = first;
  let ahead: Buffer | undefined;
  let aheadOf = first;
  try {
    while (blocks.length < count) {
      if (next >= taken.length || taken[next] !== 0 || blocks.includes(next)) return undefined;
      if (ahead === undefined || next !== (blocks.at(-1) ?? 0) + 1) {
        // Most often the rest are neighbours: they are read at once.
        ahead?.fill(0);
        ahead = Buffer.alloc(Math.min(count - blocks.length, taken.length - next) * BLOCK_BYTES);
        aheadOf = next;
        memory.read(ahead, next * BLOCK_BYTES);
      }
      const block = ahead.subarray((next - aheadOf) * BLOCK_BYTES, (next - aheadOf + 1) * BLOCK_BYTES);
      filled += block.copy(body, filled, blocks.length === 0 ? HEAD.body : LATER_BODY);
      blocks.push(next);
      next = block.readUInt32LE(HEAD.next);
    }
    return next === 0 ? blocks : undefined;
  } finally {
    ahead?.fill(0);
  }
}
