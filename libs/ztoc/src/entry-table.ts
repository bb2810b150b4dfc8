import type { TarEntry, TarText } from '@soci/tar';
import { ENTRY_TYPE_NAMES, entryTypeOfFlag } from './entry-type.ts';
import { XATTR_PREFIX } from './pax-reader.ts';
import { ZtocError } from './ztoc-error.ts';

/** Numbers of an entry, by their place in a row. */
export const NUMBER = { offset: 0, size: 1, mode: 2, devMajor: 3, devMinor: 4, mtimeSeconds: 5 } as const;
const NUMBERS = 6;
/** 32-bit words of an entry. Lengths are of the texts that stand one after the other from `textStart` on, then come the records. */
export const WORD = {
  type: 0,
  uid: 1,
  gid: 2,
  mtimeNanos: 3,
  textStart: 4,
  nameBytes: 5,
  linkBytes: 6,
  userBytes: 7,
  groupBytes: 8,
  firstRecord: 9,
  recordCount: 10,
} as const;
const WORDS = 11;

const INITIAL_ENTRIES = 512;
const INITIAL_TEXT_BYTES = 32 * 1024;
/** An archive of nothing but names cannot make more than this of them. */
const MAX_TEXT_BYTES = 2 ** 27;
const OPAQUE_SUFFIX = new TextEncoder().encode('.wh..wh..opq');

/** The entries of a layer while it is read: rows of numbers and one run of text, no object an entry. */
export class EntryTable {
  count = 0;
  recordCount = 0;
  textBytes = 0;
  /** Whether an entry has a `SCHILY.xattr.*` record. */
  hasXattrs = false;
  /** Whether an entry's name ends like an opaque whiteout's. */
  hasOpaque = false;
  text = new Uint8Array(INITIAL_TEXT_BYTES);
  #numbers = new Float64Array(INITIAL_ENTRIES * NUMBERS);
  #words = new Uint32Array(INITIAL_ENTRIES * WORDS);
  #recordBytes = new Uint32Array(INITIAL_ENTRIES * 2);

  number(entry: number, column: number): number {
    return this.#numbers[entry * NUMBERS + column] ?? 0;
  }

  word(entry: number, column: number): number {
    return this.#words[entry * WORDS + column] ?? 0;
  }

  keyBytes(record: number): number {
    return this.#recordBytes[record * 2] ?? 0;
  }

  valueBytes(record: number): number {
    return this.#recordBytes[record * 2 + 1] ?? 0;
  }

  /** @throws {ZtocError} `ENTRY_UNSUPPORTED` when the format has no name for the entry's type; `TOO_LARGE` */
  add(entry: TarEntry): void {
    const type = entryTypeOfFlag(entry.typeFlag);
    if (type === undefined) {
      const flag = JSON.stringify(String.fromCharCode(entry.typeFlag));
      throw new ZtocError(
        'ENTRY_UNSUPPORTED',
        `tar entry of type ${flag} at ${entry.headerOffsetBytes}: only ${ENTRY_TYPE_NAMES.join(', ')} can be indexed`,
      );
    }
    this.#reserveRow();
    this.#addNumbers(entry);
    const at = this.count * WORDS;
    const words = this.#words;
    words[at + WORD.type] = type;
    words[at + WORD.uid] = entry.uid;
    words[at + WORD.gid] = entry.gid;
    words[at + WORD.mtimeNanos] = entry.mtimeNanos;
    words[at + WORD.textStart] = this.textBytes;
    words[at + WORD.nameBytes] = this.#addText(entry.name);
    words[at + WORD.linkBytes] = this.#addText(entry.linkName);
    words[at + WORD.userBytes] = this.#addText(entry.userName);
    words[at + WORD.groupBytes] = this.#addText(entry.groupName);
    words[at + WORD.firstRecord] = this.recordCount;
    words[at + WORD.recordCount] = entry.records.count;
    if (entry.records.count > 0) this.#addRecords(entry);
    this.hasOpaque ||= endsWith(entry.name, OPAQUE_SUFFIX);
    this.count++;
  }

  #addNumbers(entry: TarEntry): void {
    const at = this.count * NUMBERS;
    const numbers = this.#numbers;
    numbers[at + NUMBER.offset] = entry.offsetBytes;
    numbers[at + NUMBER.size] = entry.sizeBytes;
    numbers[at + NUMBER.mode] = entry.mode;
    numbers[at + NUMBER.devMajor] = entry.devMajor;
    numbers[at + NUMBER.devMinor] = entry.devMinor;
    numbers[at + NUMBER.mtimeSeconds] = entry.mtimeSeconds;
  }

  #addRecords({ records }: TarEntry): void {
    const { bytes, count } = records;
    while ((this.recordCount + count) * 2 > this.#recordBytes.length) this.#recordBytes = grown(this.#recordBytes, Uint32Array);
    for (let i = 0; i < count; i++) {
      const at = this.recordCount * 2;
      this.#recordBytes[at] = this.#addBytes(bytes, records.keyStart(i), records.keyEnd(i));
      this.#recordBytes[at + 1] = this.#addBytes(bytes, records.valueStart(i), records.valueEnd(i));
      this.recordCount++;
      this.hasXattrs ||= startsWith(bytes, records.keyStart(i), records.keyEnd(i), XATTR_PREFIX);
    }
  }

  #addText(text: TarText): number {
    return this.#addBytes(text.bytes, text.start, text.end);
  }

  #addBytes(bytes: Uint8Array, start: number, end: number): number {
    const length = end - start;
    while (this.textBytes + length > this.text.length) {
      if (this.textBytes + length > MAX_TEXT_BYTES)
        throw new ZtocError('TOO_LARGE', `more than ${MAX_TEXT_BYTES} bytes of names and records`);
      this.text = grown(this.text, Uint8Array);
    }
    const { text, textBytes } = this;
    for (let i = 0; i < length; i++) text[textBytes + i] = bytes[start + i] ?? 0;
    this.textBytes += length;
    return length;
  }

  #reserveRow(): void {
    if ((this.count + 1) * NUMBERS <= this.#numbers.length) return;
    this.#numbers = grown(this.#numbers, Float64Array);
    this.#words = grown(this.#words, Uint32Array);
  }
}

interface GrowableArray {
  readonly length: number;
  set(source: this): void;
}

/** A copy with twice the room. */
function grown<T extends GrowableArray>(array: T, type: new (length: number) => T): T {
  const larger = new type(array.length * 2);
  larger.set(array);
  return larger;
}

function startsWith(bytes: Uint8Array, start: number, end: number, prefix: Uint8Array): boolean {
  if (end - start < prefix.length) return false;
  for (let i = 0; i < prefix.length; i++) {
    if (bytes[start + i] !== prefix[i]) return false;
  }
  return true;
}

function endsWith({ bytes, start, end }: TarText, suffix: Uint8Array): boolean {
  return end - start >= suffix.length && startsWith(bytes, end - suffix.length, end, suffix);
}
