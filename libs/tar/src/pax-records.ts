import { parseDecimal } from './numbers.ts';
import { startsWith } from './text.ts';

const SPACE = 0x20;
const EQUALS = 0x3d;
const NEW_LINE = 0x0a;
const MIN_RECORD_BYTES = 5;
/** Four positions a record: key start and end, value start and end. */
const STRIDE = 4;
/** Their values become fields of the header, which cannot hold a NUL. */
const TEXT_KEYS = ['path', 'linkpath', 'uname', 'gname'];

/**
 * The records of a PAX extended header, sorted by the bytes of the key, one for each key: the last one in the header.
 *
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_03
 */
export class PaxRecords {
  #bytes: Uint8Array = new Uint8Array(0);
  #positions = new Uint32Array(STRIDE * 8);
  #count = 0;

  /** Records in all. */
  get count(): number {
    return this.#count;
  }

  /** What the positions point into. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  keyStart(i: number): number {
    return this.#positions[i * STRIDE] ?? 0;
  }

  keyEnd(i: number): number {
    return this.#positions[i * STRIDE + 1] ?? 0;
  }

  valueStart(i: number): number {
    return this.#positions[i * STRIDE + 2] ?? 0;
  }

  valueEnd(i: number): number {
    return this.#positions[i * STRIDE + 3] ?? 0;
  }

  isKey(i: number, key: string): boolean {
    return this.keyEnd(i) - this.keyStart(i) === key.length && startsWith(this.#bytes, this.keyStart(i), key);
  }

  clear(): void {
    this.#count = 0;
  }

  /**
   * Reads the payload of an extended header in place of what was there.
   *
   * @param bytes kept until the next call
   * @returns false when a record is not `<length> <key>=<value>\n`; the records are then of no use
   */
  parse(bytes: Uint8Array, length: number): boolean {
    this.#bytes = bytes;
    this.#count = 0;
    let sorted = true;
    for (let at = 0; at < length; ) {
      at = this.#parseRecord(at, length);
      if (at === 0) return false;
      sorted &&= this.#count < 2 || this.#compareKeys(this.#count - 2, this.#count - 1) < 0;
    }
    if (!sorted) this.#sort();
    return true;
  }

  /** Where the record ends, or 0 when it is none. */
  #parseRecord(start: number, limit: number): number {
    const bytes = this.#bytes;
    let space = start;
    while (space < limit && bytes[space] !== SPACE) space++;
    const length = parseDecimal(bytes, start, space);
    const end = start + length;
    const valueEnd = end - 1;
    if (!(length >= MIN_RECORD_BYTES) || end > limit || valueEnd <= space || bytes[valueEnd] !== NEW_LINE) return 0;
    let equals = space + 1;
    while (equals < valueEnd && bytes[equals] !== EQUALS) equals++;
    if (equals === valueEnd || equals === space + 1) return 0;
    this.#append(space + 1, equals, equals + 1, valueEnd);
    const i = this.#count - 1;
    const isText = TEXT_KEYS.some((key) => this.isKey(i, key));
    const holdsNul = isText ? hasNul(bytes, equals + 1, valueEnd) : hasNul(bytes, space + 1, equals);
    return holdsNul ? 0 : end;
  }

  #append(keyStart: number, keyEnd: number, valueStart: number, valueEnd: number): void {
    const at = this.#count * STRIDE;
    if (at === this.#positions.length) {
      const grown = new Uint32Array(at * 2);
      grown.set(this.#positions);
      this.#positions = grown;
    }
    this.#positions[at] = keyStart;
    this.#positions[at + 1] = keyEnd;
    this.#positions[at + 2] = valueStart;
    this.#positions[at + 3] = valueEnd;
    this.#count++;
  }

  #compareKeys(a: number, b: number): number {
    const bytes = this.#bytes;
    const aStart = this.keyStart(a);
    const bStart = this.keyStart(b);
    const aLength = this.keyEnd(a) - aStart;
    const bLength = this.keyEnd(b) - bStart;
    const common = Math.min(aLength, bLength);
    for (let i = 0; i < common; i++) {
      const difference = (bytes[aStart + i] ?? 0) - (bytes[bStart + i] ?? 0);
      if (difference !== 0) return difference;
    }
    return aLength - bLength;
  }

  /** Sorts, and keeps the last of equal keys. */
  #sort(): void {
    const order = Array.from({ length: this.#count }, (_, i) => i).sort((a, b) => this.#compareKeys(a, b));
    const kept = order.filter((record, i) => {
      const next = order[i + 1];
      return next === undefined || this.#compareKeys(record, next) !== 0;
    });
    const old = this.#positions;
    this.#positions = new Uint32Array(old.length);
    for (const [to, from] of kept.entries()) this.#positions.set(old.subarray(from * STRIDE, from * STRIDE + STRIDE), to * STRIDE);
    this.#count = kept.length;
  }
}

function hasNul(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    if (bytes[i] === 0) return true;
  }
  return false;
}
