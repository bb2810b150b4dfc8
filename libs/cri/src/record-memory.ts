import {
  BLOCK_BYTES,
  blocksFor,
  checksumOf,
  HEAD,
  HEADER,
  LATER_BODY,
  MAX_BODY_BYTES,
  runsOf,
  WORDS,
  type KeptRecord,
  type Memory,
  type RecordKind,
} from './record-layout.ts';
import { overwriteUnused, scanRecords, type FoundRecord } from './record-scan.ts';

const MAGIC = 'SOCIPULL';
const LAYOUT_VERSION = 1;
const ZEROS = Buffer.alloc(64 << 10);
/** Blocks by which the end of what is used moves on at once. */
const RESERVE_BLOCKS = 256;

/**
 * Records in memory that is left to the next process at any instruction of this one.
 *
 * The memory is blocks of 256 bytes. Block 0 is the header: magic, version of the layout, sizes, the end of what was ever used, and a generation that counts
 * the processes. Every other block is free (zeros), the head of a record, or a later part of one, and names the block after it. What a record says stands in
 * bodies only, never where a block says what it is: no content can pass for a record. A checksum over kind, version and body makes a record that was not
 * written to its end none at all. Nothing of a record is changed but its words, eight bytes each and written at once: any other change is a new record first
 * and an overwritten old one then. Blocks are chained, so free ones never are in the wrong place, and nothing has to be moved.
 */
export class RecordMemory {
  readonly #memory: Memory;
  readonly #blocks: number;
  readonly #word = Buffer.alloc(4);
  #free: number[] = [];
  /** The first block that was never used, and how far the header says so. */
  #end = 1;
  #reserved = 1;
  #version = 1;
  #generation = 1;

  private constructor(memory: Memory) {
    this.#memory = memory;
    this.#blocks = Math.floor(memory.sizeBytes / BLOCK_BYTES);
  }

  /** Lays out memory that is zeros. */
  static create(memory: Memory): RecordMemory {
    const records = new RecordMemory(memory);
    const header = Buffer.alloc(BLOCK_BYTES);
    header.writeUInt32LE(LAYOUT_VERSION, HEADER.version);
    header.writeUInt32LE(BLOCK_BYTES, HEADER.blockBytes);
    header.writeUInt32LE(records.#blocks, HEADER.blocks);
    header.writeUInt32LE(records.#reserved, HEADER.end);
    header.writeUInt32LE(records.#generation, HEADER.generation);
    memory.write(header, 0);
    memory.write(Buffer.from(MAGIC), HEADER.magic);
    return records;
  }

  /**
   * Takes over what another process left; what is no whole record is overwritten.
   * @returns undefined for memory that was laid out by another version, or not at all
   */
  static open(memory: Memory): { readonly records: RecordMemory; readonly found: readonly FoundRecord[] } | undefined {
    const records = new RecordMemory(memory);
    const header = Buffer.alloc(BLOCK_BYTES);
    memory.read(header, 0);
    const end = header.readUInt32LE(HEADER.end);
    const isOurs =
      header.toString('latin1', HEADER.magic, HEADER.version) === MAGIC &&
      header.readUInt32LE(HEADER.version) === LAYOUT_VERSION &&
      header.readUInt32LE(HEADER.blockBytes) === BLOCK_BYTES &&
      header.readUInt32LE(HEADER.blocks) === records.#blocks &&
      end >= 1 &&
      end <= records.#blocks;
    if (!isOurs) return undefined;
    const { found, taken } = scanRecords(memory, end);
    records.#end = records.#reserved = end;
    records.#free = overwriteUnused(memory, taken);
    records.#version = found.reduce((highest, { record }) => Math.max(highest, record.version + 1), 1);
    records.#generation = (header.readUInt32LE(HEADER.generation) + 1) >>> 0;
    records.#writeUint32(records.#generation, HEADER.generation);
    return { records, found };
  }

  /** How many processes have had this memory, this one included. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * @param words numbers that can be changed later, at most `WORDS`
   * @returns undefined when there is no room, or the body is too long
   */
  add(kind: RecordKind, body: Uint8Array, words: readonly number[]): KeptRecord | undefined {
    const count = blocksFor(body.length);
    if (body.length > MAX_BODY_BYTES || this.#free.length + this.#blocks - this.#end < count) return undefined;
    const blocks = this.#take(count);
    const version = this.#version++;
    const head = Buffer.alloc(HEAD.body);
    head.writeUInt32LE(kind, HEAD.kind);
    head.writeDoubleLE(version, HEAD.version);
    head.writeUInt32LE(body.length, HEAD.sizeBytes);
    const checksum = checksumOf(head, body);
    checksum.copy(head, HEAD.checksum);
    toBytes(words).copy(head, HEAD.words);
    this.#writeChain(blocks, head, body);
    return { blocks, version, checksum: checksum.toString('hex') };
  }

  setWords({ blocks: [head = 0] }: KeptRecord, words: readonly number[]): void {
    this.#memory.write(toBytes(words), head * BLOCK_BYTES + HEAD.words);
  }

  /** Overwrites all of it, at once. */
  remove({ blocks }: KeptRecord): void {
    this.#writeUint32(0, (blocks[0] ?? 0) * BLOCK_BYTES + HEAD.kind); // it is gone with that, whatever is left of it for the moment
    for (const { first, count } of runsOf(blocks)) this.#memory.write(ZEROS.subarray(0, count * BLOCK_BYTES), first * BLOCK_BYTES);
    for (const block of blocks.toReversed()) this.#free.push(block);
  }

  /** Overwrites everything, the header first: with that nobody reads it any more. Nothing can be added afterwards. */
  wipe(): void {
    const endBytes = this.#reserved * BLOCK_BYTES;
    for (let at = 0; at < endBytes; at += ZEROS.length) this.#memory.write(ZEROS.subarray(0, Math.min(ZEROS.length, endBytes - at)), at);
    this.#free = [];
    this.#end = this.#reserved = this.#blocks;
  }

  #take(count: number): readonly number[] {
    const fresh = Math.max(0, count - this.#free.length);
    const blocks = this.#free.splice(this.#free.length - (count - fresh)).reverse();
    for (let index = 0; index < fresh; index++) blocks.push(this.#end + index);
    this.#end += fresh;
    if (this.#end > this.#reserved) {
      this.#reserved = Math.min(this.#end + RESERVE_BLOCKS, this.#blocks);
      this.#writeUint32(this.#reserved, HEADER.end);
    }
    return blocks;
  }

  /** The head comes last. */
  #writeChain(blocks: readonly number[], head: Buffer, body: Uint8Array): void {
    const image = Buffer.alloc(blocks.length * BLOCK_BYTES);
    let taken = 0;
    for (const [index, next] of [...blocks.slice(1), 0].entries()) {
      const start = index === 0 ? HEAD.body : LATER_BODY;
      const block = image.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
      if (index === 0) head.copy(block);
      block.writeUInt32LE(next, HEAD.next);
      const part = body.subarray(taken, taken + BLOCK_BYTES - start);
      block.set(part, start);
      taken += part.length;
    }
    for (const { first, index, count } of runsOf(blocks, 1)) {
      this.#memory.write(image.subarray(index * BLOCK_BYTES, (index + count) * BLOCK_BYTES), first * BLOCK_BYTES);
    }
    this.#memory.write(image.subarray(0, BLOCK_BYTES), (blocks[0] ?? 0) * BLOCK_BYTES);
    image.fill(0);
  }

  #writeUint32(value: number, at: number): void {
    this.#word.writeUInt32LE(value);
    this.#memory.write(this.#word, at);
  }
}

function toBytes(words: readonly number[]): Buffer {
  const bytes = Buffer.alloc(Math.min(words.length, WORDS) * 8);
  for (const [index, word] of words.slice(0, WORDS).entries()) bytes.writeDoubleLE(word, index * 8);
  return bytes;
}
