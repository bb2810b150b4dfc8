import { ENTRY_TYPE, type TocColumns } from './columns.ts';
import { readEntryType } from './entry-type.ts';
import { type FlatbufferReader, guarded } from './flatbuffer-reader.ts';
import { PaxReader } from './pax-reader.ts';
import { type MutableTime, readTimestamp } from './timestamp.ts';
import { ZtocError } from './ztoc-error.ts';

const TAR_BLOCK_BYTES = 512;
const MODE_MASK = 0o7777;
/** Names are not shared by any writer; this leaves room for one that shares link targets. */
const MAX_TEXT_SHARE = 4;
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
    const tables = tablesInTarOrder(reader, toc);
    const columns = readEntries(reader, tables);
    placeHeaders(columns, limitBytes);
    return columns;
  });
}

/** Positions of the `FileMetadata` tables, sorted by the offset of the data as every reader does. */
function tablesInTarOrder(reader: FlatbufferReader, toc: number): Uint32Array {
  const field = reader.field(toc, 0);
  if (field === 0) return new Uint32Array(0);
  const vector = reader.follow(field);
  const tables = new Uint32Array(reader.vectorLength(vector));
  let sorted = true;
  let last = 0;
  for (let i = 0; i < tables.length; i++) {
    const table = reader.follow(vector + 4 + 4 * i);
    const offset = reader.size(table, SLOT.offset);
    sorted &&= offset >= last;
    last = offset;
    tables[i] = table;
  }
  return sorted ? tables : tables.sort((a, b) => reader.size(a, SLOT.offset) - reader.size(b, SLOT.offset));
}

function readEntries(reader: FlatbufferReader, tables: Uint32Array): TocColumns {
  const { bytes, view } = reader;
  const pax = new PaxReader(reader);
  const vectors = new Uint32Array(tables.length);
  const columns = allocate(tables.length, bytes, (i) => pax.xattrs(vectors[i] ?? 0));
  const time: MutableTime = { seconds: 0, nanos: 0 };
  let textBytes = 0;
  for (let i = 0; i < tables.length; i++) {
    const table = tables[i] ?? 0;
    const text = (slot: number) => {
      const field = reader.field(table, slot);
      return field === 0 ? 0 : reader.follow(field);
    };
    const low = (slot: number) => {
      const field = reader.field(table, slot);
      return field === 0 ? 0 : view.getUint32(field, true);
    };
    const name = text(SLOT.name);
    if (name === 0) throw new ZtocError('INVALID', `zTOC: entry ${i} has no name`);
    columns.nameStart[i] = name + 4;
    columns.nameEnd[i] = reader.stringEnd(name);
    const type = readEntryType(reader, text(SLOT.type), i);
    columns.type[i] = type;
    const link = type === ENTRY_TYPE.symlink || type === ENTRY_TYPE.hardLink ? text(SLOT.link) : 0;
    if (link !== 0) {
      columns.linkStart[i] = link + 4;
      columns.linkEnd[i] = reader.stringEnd(link);
    }
    textBytes += (columns.nameEnd[i] ?? 0) - name + (columns.linkEnd[i] ?? 0) - link;
    columns.offsetBytes[i] = reader.size(table, SLOT.offset);
    columns.sizeBytes[i] = reader.size(table, SLOT.size);
    columns.mode[i] = low(SLOT.mode) & MODE_MASK;
    columns.uid[i] = low(SLOT.uid);
    columns.gid[i] = low(SLOT.gid);
    columns.devMajor[i] = low(SLOT.devMajor);
    columns.devMinor[i] = low(SLOT.devMinor);
    const mtime = text(SLOT.mtime);
    readTimestamp(bytes, mtime + 4, mtime === 0 ? 0 : reader.stringEnd(mtime), time);
    columns.mtimeSeconds[i] = time.seconds;
    columns.mtimeNanos[i] = time.nanos;
    const records = text(SLOT.records);
    if (records !== 0) {
      vectors[i] = records;
      columns.xattrCount[i] = pax.countXattrs(records);
    }
  }
  if (textBytes > bytes.length * MAX_TEXT_SHARE) throw new ZtocError('INVALID', 'zTOC: more text than its size allows');
  return columns;
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
