import { hash } from 'node:crypto';
import { TYPE_FLAG, type TarEntry } from '@soci/tar';
import { ENTRY_TYPE, type TocColumns } from '@soci/ztoc';
import { LayerError } from './errors.ts';

const NUMBERS = 13;
const FIRST_BUFFER_BYTES = 1 << 16;
const XATTR_PREFIX = Buffer.from('SCHILY.xattr.');

const TYPE_OF_FLAG: ReadonlyMap<number, number> = new Map([
  [TYPE_FLAG.regular, ENTRY_TYPE.regular],
  [TYPE_FLAG.directory, ENTRY_TYPE.directory],
  [TYPE_FLAG.symlink, ENTRY_TYPE.symlink],
  [TYPE_FLAG.hardLink, ENTRY_TYPE.hardLink],
  [TYPE_FLAG.character, ENTRY_TYPE.character],
  [TYPE_FLAG.block, ENTRY_TYPE.block],
  [TYPE_FLAG.fifo, ENTRY_TYPE.fifo],
]);

interface Pair {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/**
 * sha256 over what a run of tar headers says: names, types, sizes, places, permissions, owners, devices, link targets and xattrs. A table of
 * contents and a tar agree when both give the same. Times are left out: the format cannot say all of them.
 */
export class HeaderDigest {
  readonly #numbers = new Float64Array(NUMBERS);
  readonly #octets = new Uint8Array(this.#numbers.buffer);
  #buffer = new Uint8Array(FIRST_BUFFER_BYTES);
  #length = 0;

  /** An entry of a table of contents. */
  addListed(columns: TocColumns, entry: number): void {
    const n = this.#numbers;
    const { bytes, nameStart = 0, nameEnd = 0, linkStart = 0, linkEnd = 0 } = texts(columns, entry);
    n[0] = columns.headerOffsetBytes[entry] ?? 0;
    n[1] = columns.offsetBytes[entry] ?? 0;
    n[2] = columns.sizeBytes[entry] ?? 0;
    n[3] = columns.type[entry] ?? 0;
    n[4] = columns.mode[entry] ?? 0;
    n[5] = columns.uid[entry] ?? 0;
    n[6] = columns.gid[entry] ?? 0;
    n[7] = columns.devMajor[entry] ?? 0;
    n[8] = columns.devMinor[entry] ?? 0;
    this.#add(bytes, nameStart, nameEnd, bytes, linkStart, linkEnd, columns.xattrCount[entry] === 0 ? [] : columns.xattrs(entry));
  }

  /** An entry of a tar. @throws {LayerError} `HEADER_MISMATCH` when it is of a type that no table of contents lists */
  addRead(entry: TarEntry): void {
    const n = this.#numbers;
    const type = TYPE_OF_FLAG.get(entry.typeFlag);
    if (type === undefined) throw new LayerError('HEADER_MISMATCH', `tar entry of type ${entry.typeFlag}`);
    n[0] = entry.headerOffsetBytes;
    n[1] = entry.offsetBytes;
    n[2] = entry.sizeBytes;
    n[3] = type;
    n[4] = entry.mode & 0o7777;
    n[5] = entry.uid >>> 0;
    n[6] = entry.gid >>> 0;
    n[7] = entry.devMajor >>> 0;
    n[8] = entry.devMinor >>> 0;
    const { name, linkName } = entry;
    const linkEnd = type === ENTRY_TYPE.symlink || type === ENTRY_TYPE.hardLink ? linkName.end : linkName.start;
    this.#add(name.bytes, name.start, name.end, linkName.bytes, linkName.start, linkEnd, xattrsOf(entry));
  }

  /** The digest of what was added; begins anew. */
  take(): Buffer {
    const digest = hash('sha256', this.#buffer.subarray(0, this.#length), 'buffer');
    this.#length = 0;
    return digest;
  }

  #add(
    name: Uint8Array,
    nameStart: number,
    nameEnd: number,
    link: Uint8Array,
    linkStart: number,
    linkEnd: number,
    xattrs: readonly Pair[],
  ): void {
    const n = this.#numbers;
    n[9] = nameEnd - nameStart;
    n[10] = linkEnd - linkStart;
    n[11] = xattrs.length;
    n[12] = 0;
    this.#reserve(this.#octets.length + (nameEnd - nameStart) + (linkEnd - linkStart));
    this.#put(this.#octets, 0, this.#octets.length);
    this.#put(name, nameStart, nameEnd);
    this.#put(link, linkStart, linkEnd);
    if (xattrs.length > 0) this.#putXattrs(xattrs);
  }

  #putXattrs(xattrs: readonly Pair[]): void {
    for (const { key, value } of [...xattrs].sort((a, b) => Buffer.compare(a.key, b.key))) {
      const lengths = new Uint8Array(new Float64Array([key.length, value.length]).buffer);
      this.#reserve(lengths.length + key.length + value.length);
      this.#put(lengths, 0, lengths.length);
      this.#put(key, 0, key.length);
      this.#put(value, 0, value.length);
    }
  }

  #reserve(bytes: number): void {
    const end = this.#length + bytes;
    if (end <= this.#buffer.length) return;
    const grown = new Uint8Array(Math.max(end, this.#buffer.length * 2));
    grown.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = grown;
  }

  /** Names are short: a loop is faster than a subarray and a set. */
  #put(from: Uint8Array, start: number, end: number): void {
    const buffer = this.#buffer;
    let at = this.#length;
    for (let i = start; i < end; i++) buffer[at++] = from[i] ?? 0;
    this.#length = at;
  }
}

function texts(columns: TocColumns, entry: number) {
  return {
    bytes: columns.bytes,
    nameStart: columns.nameStart[entry],
    nameEnd: columns.nameEnd[entry],
    linkStart: columns.linkStart[entry],
    linkEnd: columns.linkEnd[entry],
  };
}

function xattrsOf({ records }: TarEntry): Pair[] {
  const pairs: Pair[] = [];
  for (let i = 0; i < records.count; i++) {
    const key = records.bytes.subarray(records.keyStart(i), records.keyEnd(i));
    if (key.length < XATTR_PREFIX.length || XATTR_PREFIX.compare(key, 0, XATTR_PREFIX.length) !== 0) continue;
    pairs.push({ key: key.subarray(XATTR_PREFIX.length), value: records.bytes.subarray(records.valueStart(i), records.valueEnd(i)) });
  }
  return pairs;
}
