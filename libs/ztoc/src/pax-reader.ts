import type { FlatbufferReader } from './flatbuffer-reader.ts';
import { ZtocError } from './ztoc-error.ts';

/** How xattrs stand among the PAX records of an entry. */
export const XATTR_PREFIX: Uint8Array = new TextEncoder().encode('SCHILY.xattr.');

const KEY_SLOT = 0;
const VALUE_SLOT = 1;
/** A record is at least a table of 12 bytes and two strings of 4. */
const MIN_RECORD_BYTES = 20;
/** No writer lets records share their texts; this leaves room for one that does. */
const MAX_TEXT_SHARE = 4;

export interface PaxRecord {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Reads the PAX records of entries. A vector or a text that many entries share cannot be used to make the work, or what is made of it, grow far past the size of the buffer. */
export class PaxReader {
  readonly #reader: FlatbufferReader;
  #budget: number;
  #textBudget: number;

  constructor(reader: FlatbufferReader) {
    this.#reader = reader;
    this.#budget = reader.bytes.length / MIN_RECORD_BYTES;
    this.#textBudget = reader.bytes.length * MAX_TEXT_SHARE;
  }

  /** Checks all records of a vector and tells how many different xattrs are among them. Each vector is expected to be counted once. */
  countXattrs(vector: number): number {
    const reader = this.#reader;
    const length = reader.vectorLength(vector);
    this.#budget -= length;
    if (this.#budget < 0) throw new ZtocError('INVALID', 'zTOC: more records than its size allows');
    let count = 0;
    for (let i = 0; i < length; i++) {
      const record = reader.follow(vector + 4 + 4 * i);
      const value = reader.field(record, VALUE_SLOT);
      if (value !== 0) this.#spend(reader.follow(value));
      const key = reader.field(record, KEY_SLOT);
      if (key === 0) continue;
      this.#spend(reader.follow(key));
      if (this.#isXattr(reader.follow(key))) count++;
    }
    return count < 2 ? count : this.xattrs(vector).length;
  }

  #spend(position: number): void {
    this.#textBudget -= this.#reader.stringEnd(position) - position;
    if (this.#textBudget < 0) throw new ZtocError('INVALID', 'zTOC: more text in records than its size allows');
  }

  #isXattr(position: number): boolean {
    const { bytes } = this.#reader;
    const start = position + 4;
    if (this.#reader.stringEnd(position) - start < XATTR_PREFIX.length) return false;
    for (let i = 0; i < XATTR_PREFIX.length; i++) {
      if (bytes[start + i] !== XATTR_PREFIX[i]) return false;
    }
    return true;
  }

  /** The xattrs of a vector that was counted, prefix taken off, in its order; of two with one key the last counts. */
  xattrs(vector: number): readonly PaxRecord[] {
    const found = new Map<string, PaxRecord>();
    for (const { key, value } of this.records(vector)) {
      if (key.length < XATTR_PREFIX.length || Buffer.compare(key.subarray(0, XATTR_PREFIX.length), XATTR_PREFIX) !== 0) continue;
      const name = key.subarray(XATTR_PREFIX.length);
      found.set(Buffer.from(name.buffer, name.byteOffset, name.length).toString('latin1'), { key: name, value });
    }
    return [...found.values()];
  }

  /** All records of a vector, in its order, as parts of the buffer. */
  records(vector: number): readonly PaxRecord[] {
    const reader = this.#reader;
    return Array.from({ length: reader.vectorLength(vector) }, (_, i) => {
      const record = reader.follow(vector + 4 + 4 * i);
      return { key: reader.byteRange(record, KEY_SLOT), value: reader.byteRange(record, VALUE_SLOT) };
    });
  }
}
