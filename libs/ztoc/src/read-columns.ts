import { ENTRY_TYPE, type TocColumns } from './columns.ts';
import { readEntryType } from './entry-type.ts';
import { type FlatbufferReader, guarded, readSize } from './flatbuffer-reader.ts';
import { PaxReader } from './pax-reader.ts';
import { type MutableTime, readTimestamp } from './timestamp.ts';
import { ZtocError } from './ztoc-error.ts';

const TAR_BLOCK_BYTES = 512;
const MODE_MASK = 0o7777;
/** Names are not shared by any writer; this leaves room for one that shares link targets. */
const MAX_TEXT_SHARE = 4;
const FILE_SLOTS = 14;
const SLOT = { name: 0, type: 1, offset: 2, size: 3, link: 4, mode: 5, uid: 6, gid: 7, mtime: 10, devMajor: 11, devMinor: 12, records: 13 };

/**
 * Reads the table of contents into columns, in the order of the tar.
 *
 * @param toc position of the `TOC` table
 * @param limitBytes no file's data reaches past this offset of the uncompressed tar
 * @throws {ZtocError} `INVALID` when a position lies outside the buffer, an entry is of no known type, or entries overlap or are not on block borders
 */
export function readColumns(reader: FlatbufferReader, toc: number, limitBytes: number): TocColumns {
  return guarded('zTOC', () => {
    const tables = fileTables(reader, toc);
    let columns = readEntries(reader, tables);
    if (!isAscending(columns.offsetBytes)) columns = readEntries(reader, sortedByOffset(tables, columns.offsetBytes));
    placeHeaders(columns, limitBytes);
    return columns;
  });
}

/** Positions of the `FileMetadata` tables. */
function fileTables(reader: FlatbufferReader, toc: number): Uint32Array {
  const field = reader.field(toc, 0);
  if (field === 0) return new Uint32Array(0);
  const { view } = reader;
  const vector = reader.follow(field);
  const tables = new Uint32Array(reader.vectorLength(vector));
  for (let i = 0, at = vector + 4; i < tables.length; i++, at += 4) tables[i] = at + view.getUint32(at, true);
  return tables;
}

function isAscending(offsets: Float64Array): boolean {
  for (let i = 1; i < offsets.length; i++) {
    if ((offsets[i] ?? 0) < (offsets[i - 1] ?? 0)) return false;
  }
  return true;
}

/** The order of the tar is that of the data, whatever the order in the buffer. */
function sortedByOffset(tables: Uint32Array, offsets: Float64Array): Uint32Array {
  const order = Uint32Array.from(tables.keys()).sort((a, b) => (offsets[a] ?? 0) - (offsets[b] ?? 0));
  return order.map((i) => tables[i] ?? 0);
}

function readEntries(reader: FlatbufferReader, tables: Uint32Array): TocColumns {
  const entries = new EntryReader(reader, tables.length);
  for (let i = 0; i < tables.length; i++) entries.read(i, tables[i] ?? 0);
  return entries.columns;
}

/** Fills the columns, an entry a call: short functions are compiled soon. */
class EntryReader {
  readonly columns: TocColumns;
  readonly #reader: FlatbufferReader;
  readonly #file: FileTable;
  readonly #pax: PaxReader;
  readonly #recordVectors: Uint32Array;
  readonly #time: MutableTime = { seconds: 0, nanos: 0 };
  #textBudget: number;

  constructor(reader: FlatbufferReader, count: number) {
    this.#reader = reader;
    this.#file = new FileTable(reader.view);
    this.#pax = new PaxReader(reader);
    this.#recordVectors = new Uint32Array(count);
    this.#textBudget = reader.bytes.length * MAX_TEXT_SHARE;
    this.columns = allocate(count, reader.bytes, (i) => this.#pax.xattrs(this.#recordVectors[i] ?? 0));
  }

  read(i: number, table: number): void {
    const file = this.#file;
    file.open(table);
    this.#readTexts(i);
    this.#readNumbers(i);
    this.#readTime(i);
    const records = file.object(SLOT.records);
    if (records === 0) return;
    this.#recordVectors[i] = records;
    this.columns.xattrCount[i] = this.#pax.countXattrs(records);
  }

  #readTexts(i: number): void {
    const { columns } = this;
    const file = this.#file;
    const name = file.object(SLOT.name);
    if (name === 0) throw new ZtocError('INVALID', `zTOC: entry ${i} has no name`);
    columns.nameStart[i] = name + 4;
    columns.nameEnd[i] = this.#textEnd(name);
    const type = readEntryType(this.#reader, file.object(SLOT.type), i);
    columns.type[i] = type;
    if (type !== ENTRY_TYPE.symlink && type !== ENTRY_TYPE.hardLink) return;
    const link = file.object(SLOT.link);
    if (link === 0) return;
    columns.linkStart[i] = link + 4;
    columns.linkEnd[i] = this.#textEnd(link);
  }

  #textEnd(position: number): number {
    const end = this.#reader.stringEnd(position);
    this.#textBudget -= end - position;
    if (this.#textBudget < 0) throw new ZtocError('INVALID', 'zTOC: more text than its size allows');
    return end;
  }

  #readNumbers(i: number): void {
    const { columns } = this;
    const file = this.#file;
    columns.offsetBytes[i] = file.size(SLOT.offset);
    columns.sizeBytes[i] = file.size(SLOT.size);
    columns.mode[i] = file.low(SLOT.mode) & MODE_MASK;
    columns.uid[i] = file.low(SLOT.uid);
    columns.gid[i] = file.low(SLOT.gid);
    columns.devMajor[i] = file.low(SLOT.devMajor);
    columns.devMinor[i] = file.low(SLOT.devMinor);
  }

  #readTime(i: number): void {
    const time = this.#time;
    const mtime = this.#file.object(SLOT.mtime);
    readTimestamp(this.#reader.bytes, mtime + 4, mtime === 0 ? 0 : this.#reader.stringEnd(mtime), time);
    this.columns.mtimeSeconds[i] = time.seconds;
    this.columns.mtimeNanos[i] = time.nanos;
  }
}

/** One `FileMetadata` table after the other. They share a few vtables, so the last one is kept. */
class FileTable {
  readonly #view: DataView;
  readonly #places = new Uint16Array(FILE_SLOTS);
  #vtable = -1;
  #table = 0;

  constructor(view: DataView) {
    this.#view = view;
  }

  open(table: number): void {
    const view = this.#view;
    const vtable = table - view.getInt32(table, true);
    this.#table = table;
    if (vtable === this.#vtable) return;
    const slots = Math.min((view.getUint16(vtable, true) - 4) >> 1, FILE_SLOTS);
    for (let slot = 0; slot < FILE_SLOTS; slot++) this.#places[slot] = slot < slots ? view.getUint16(vtable + 4 + 2 * slot, true) : 0;
    this.#vtable = vtable;
  }

  /** Where a field's offset points; 0 when the field is absent. */
  object(slot: number): number {
    const place = this.#places[slot] ?? 0;
    return place === 0 ? 0 : this.#table + place + this.#view.getUint32(this.#table + place, true);
  }

  /** The low 32 bits of an integer. */
  low(slot: number): number {
    const place = this.#places[slot] ?? 0;
    return place === 0 ? 0 : this.#view.getUint32(this.#table + place, true);
  }

  size(slot: number): number {
    const place = this.#places[slot] ?? 0;
    return place === 0 ? 0 : readSize(this.#view, this.#table + place);
  }
}

/** An entry's headers begin where the data before it ends, rounded up to a block, and end where its own data begins. */
function placeHeaders(columns: TocColumns, limitBytes: number): void {
  const { count, offsetBytes, sizeBytes, headerOffsetBytes, type } = columns;
  let next = 0;
  for (let i = 0; i < count; i++) {
    const offset = offsetBytes[i] ?? 0;
    const size = type[i] === ENTRY_TYPE.regular ? (sizeBytes[i] ?? 0) : 0; // nothing else has data, whatever the header says
    if (offset % TAR_BLOCK_BYTES !== 0 || offset < next + TAR_BLOCK_BYTES || offset + size > limitBytes) {
      throw new ZtocError('INVALID', `zTOC: entry ${i} at ${offset} with ${size} bytes: overlaps another or the end of the archive`);
    }
    headerOffsetBytes[i] = next;
    next = Math.ceil((offset + size) / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
  }
}

function allocate(count: number, bytes: Uint8Array, xattrs: TocColumns['xattrs']): TocColumns {
  const u32 = () => new Uint32Array(count);
  const f64 = () => new Float64Array(count);
  return {
    count,
    bytes,
    nameStart: u32(),
    nameEnd: u32(),
    linkStart: u32(),
    linkEnd: u32(),
    type: new Uint8Array(count),
    offsetBytes: f64(),
    sizeBytes: f64(),
    mode: u32(),
    uid: u32(),
    gid: u32(),
    devMajor: u32(),
    devMinor: u32(),
    mtimeSeconds: f64(),
    mtimeNanos: u32(),
    headerOffsetBytes: f64(),
    xattrCount: u32(),
    xattrs,
  };
}
