import type { Checkpoint } from '@soci/zlib';
import { BLOB_HEADER_BYTES, CHECKPOINT_BYTES, type ZtocAlgorithm } from './checkpoints.ts';
import { type EntryTable, NUMBER, WORD } from './entry-table.ts';
import { ENTRY_TYPE_TEXTS } from './entry-type.ts';
import { FlatbufferWriter } from './flatbuffer-writer.ts';
import { MAX_TIMESTAMP_BYTES, writeTimestamp } from './timestamp.ts';

const VERSION = new TextEncoder().encode('0.9');
const TAR_ZINFO_VERSION = 2;
const TAR_ZINFO_BYTES = 64;
const ALGORITHM = { gzip: 1, uncompressed: 2 } as const;
/** Upper bounds of what an object takes beside its texts: lengths, NULs, padding, tables, places in vectors. */
const ENTRY_BYTES = 256;
const RECORD_BYTES = 40;
const DIGEST_BYTES = 84;
const FIXED_BYTES = 16 * 1024;

/** All that a zTOC says. */
export interface ZtocContent {
  readonly buildTool: string;
  readonly algorithm: ZtocAlgorithm;
  readonly spanSize: bigint;
  readonly compressedSizeBytes: number;
  readonly uncompressedSizeBytes: number;
  readonly entries: EntryTable;
  /** One a span, of gzip layers. */
  readonly checkpoints: readonly Checkpoint[];
  /** `sha256:<64 hex digits>`, one a span. */
  readonly spanDigests: readonly string[];
}

/**
 * Serializes a zTOC. The bytes are a function of the order in which objects are created, which is that of the Go tool: files from last to first, then
 * checkpoints, then digests, each table's fields in its order.
 *
 * @returns a view of the tail of a larger buffer
 * @throws {ZtocError} `TOO_LARGE` when it would pass 2 GiB
 */
export function writeZtoc(content: ZtocContent): Uint8Array<ArrayBuffer> {
  const blob = checkpointBlob(content);
  const writer = new FlatbufferWriter(capacity(content, blob));
  const version = writer.string(VERSION);
  const buildTool = writer.string(new TextEncoder().encode(content.buildTool));
  const toc = writeToc(writer, content.entries);
  const info = writeCompressionInfo(writer, content, blob);
  writer.startTable(6);
  writer.offsetField(0, version);
  writer.offsetField(1, buildTool);
  writer.offsetField(4, toc);
  writer.int64Field(2, content.compressedSizeBytes);
  writer.int64Field(3, content.uncompressedSizeBytes);
  writer.offsetField(5, info);
  return writer.finish(writer.endTable());
}

function capacity({ entries, buildTool, spanDigests }: ZtocContent, blob: readonly Uint8Array[]): number {
  const blobBytes = blob.reduce((sum, piece) => sum + piece.length, 0);
  const tocBytes = entries.textBytes + entries.count * ENTRY_BYTES + entries.recordCount * RECORD_BYTES;
  return FIXED_BYTES + 3 * buildTool.length + tocBytes + blobBytes + spanDigests.length * DIGEST_BYTES;
}

function writeToc(writer: FlatbufferWriter, entries: EntryTable): number {
  const files = new Uint32Array(entries.count);
  for (let i = entries.count - 1; i >= 0; i--) files[i] = writeFile(writer, entries, i);
  const metadata = writer.offsetVector(files);
  writer.startTable(1);
  writer.offsetField(0, metadata);
  return writer.endTable();
}

const timestamp = new Uint8Array(MAX_TIMESTAMP_BYTES);

function writeFile(writer: FlatbufferWriter, entries: EntryTable, i: number): number {
  let at = entries.word(i, WORD.textStart);
  const text = (bytes: number) => {
    at += bytes;
    return writer.string(entries.text, at - bytes, at);
  };
  const name = text(entries.word(i, WORD.nameBytes));
  const type = writer.string(ENTRY_TYPE_TEXTS[entries.word(i, WORD.type)] ?? timestamp.subarray(0, 0));
  const link = text(entries.word(i, WORD.linkBytes));
  const user = text(entries.word(i, WORD.userBytes));
  const group = text(entries.word(i, WORD.groupBytes));
  const mtimeBytes = writeTimestamp(timestamp, 0, entries.number(i, NUMBER.mtimeSeconds), entries.word(i, WORD.mtimeNanos));
  const mtime = writer.string(timestamp, 0, mtimeBytes);
  const records = writeRecords(writer, entries, i, at);
  writer.startTable(14);
  writer.offsetField(0, name);
  writer.offsetField(1, type);
  writer.int64Field(2, entries.number(i, NUMBER.offset));
  writer.int64Field(3, entries.number(i, NUMBER.size));
  writer.offsetField(4, link);
  writer.int64Field(5, entries.number(i, NUMBER.mode));
  writer.int32Field(6, entries.word(i, WORD.uid));
  writer.int32Field(7, entries.word(i, WORD.gid));
  writer.offsetField(8, user);
  writer.offsetField(9, group);
  writer.offsetField(10, mtime);
  writer.int64Field(11, entries.number(i, NUMBER.devMajor));
  writer.int64Field(12, entries.number(i, NUMBER.devMinor));
  writer.offsetField(13, records);
  return writer.endTable();
}

/** The vector of an entry's PAX records, which stand behind its texts from `at` on, sorted by key. */
function writeRecords(writer: FlatbufferWriter, entries: EntryTable, i: number, at: number): number {
  const first = entries.word(i, WORD.firstRecord);
  const count = entries.word(i, WORD.recordCount);
  if (count === 0) return writer.offsetVector([]);
  const records = new Uint32Array(count);
  let start = at;
  for (let r = 0; r < count; r++) {
    const middle = start + entries.keyBytes(first + r);
    const end = middle + entries.valueBytes(first + r);
    const key = writer.string(entries.text, start, middle);
    const value = writer.string(entries.text, middle, end);
    writer.startTable(2);
    writer.offsetField(0, key);
    writer.offsetField(1, value);
    records[r] = writer.endTable();
    start = end;
  }
  return writer.offsetVector(records);
}

function writeCompressionInfo(writer: FlatbufferWriter, content: ZtocContent, blob: readonly Uint8Array[]): number {
  const checkpoints = writer.byteVector(blob);
  const encoder = new TextEncoder();
  const digests = writer.offsetVector(content.spanDigests.map((digest) => writer.string(encoder.encode(digest))));
  writer.startTable(4);
  writer.int32Field(1, content.spanDigests.length - 1);
  writer.offsetField(2, digests);
  writer.offsetField(3, checkpoints);
  writer.int8Field(0, ALGORITHM[content.algorithm], ALGORITHM.gzip);
  return writer.endTable();
}

/** The zinfo blob, in pieces: windows are copied once, into the zTOC. */
function checkpointBlob({ algorithm, checkpoints, spanSize, compressedSizeBytes }: ZtocContent): readonly Uint8Array[] {
  if (algorithm === 'uncompressed') return [tarZinfo(spanSize, compressedSizeBytes)];
  const header = new DataView(new ArrayBuffer(BLOB_HEADER_BYTES));
  header.setInt32(0, checkpoints.length, true);
  header.setBigInt64(4, spanSize, true);
  const pieces = [new Uint8Array(header.buffer)];
  for (const { inputOffset, outputOffset, bits, window } of checkpoints) {
    const place = new DataView(new ArrayBuffer(CHECKPOINT_BYTES - window.length));
    place.setBigInt64(0, BigInt(inputOffset), true);
    place.setBigInt64(8, BigInt(outputOffset), true);
    place.setUint8(16, bits);
    pieces.push(new Uint8Array(place.buffer), window as Uint8Array<ArrayBuffer>);
  }
  return pieces;
}

function tarZinfo(spanSize: bigint, sizeBytes: number): Uint8Array<ArrayBuffer> {
  const writer = new FlatbufferWriter(TAR_ZINFO_BYTES);
  writer.startTable(3);
  writer.int32Field(0, TAR_ZINFO_VERSION);
  writer.int64Field(1, spanSize);
  writer.int64Field(2, sizeBytes);
  return writer.finish(writer.endTable());
}
