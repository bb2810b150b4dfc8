import { ZtocError } from './ztoc-error.ts';

/** Go's writer refuses to grow past it. */
const MAX_BYTES = 2 ** 31 - 1;
const TWO_32 = 2 ** 32;
/** Below it a loop copies faster than a call. */
const SHORT_TEXT_BYTES = 64;
const VTABLE_HEADER_BYTES = 4;

/**
 * Writes a flatbuffer from its end to its front, with the same paddings and shared vtables as the Go library, so that the same objects created in the same
 * order make the same bytes. An object is named by its distance from the end.
 *
 * @see https://flatbuffers.dev/internals
 */
export class FlatbufferWriter {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  #head: number;
  #alignment = 1;
  readonly #vtables: number[] = [];
  /** Distance from the end of each field of the table being written; 0 for absent ones. */
  readonly #fields = new Uint32Array(16);
  #fieldCount = 0;
  #tableEnd = 0;

  /**
   * @param capacityBytes at least what will be written; memory that is not is never touched
   * @throws {ZtocError} `TOO_LARGE`
   */
  constructor(capacityBytes: number) {
    if (capacityBytes > MAX_BYTES) throw new ZtocError('TOO_LARGE', `zTOC of about ${capacityBytes} bytes`);
    this.#bytes = new Uint8Array(capacityBytes);
    this.#view = new DataView(this.#bytes.buffer);
    this.#head = capacityBytes;
  }

  /** A string, or in Go's words any sequence of bytes: never shared with an equal one. */
  string(source: Uint8Array, start = 0, end = source.length): number {
    this.#prepare(4, end - start + 1);
    this.#head--; // the NUL after it
    this.#copy(source, start, end);
    return this.#length(end - start);
  }

  /** A vector of bytes that are given in pieces. */
  byteVector(pieces: readonly Uint8Array[]): number {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    this.#prepare(4, length);
    for (const piece of pieces.toReversed()) this.#copy(piece, 0, piece.length);
    return this.#length(length);
  }

  /** A vector of the first `count` objects. */
  offsetVector(objects: ArrayLike<number>, count = objects.length): number {
    this.#prepare(4, 4 * count);
    for (let i = count - 1; i >= 0; i--) this.#prependOffset(objects[i] ?? 0);
    return this.#length(count);
  }

  startTable(fieldCount: number): void {
    this.#fields.fill(0, 0, fieldCount);
    this.#fieldCount = fieldCount;
    this.#tableEnd = this.#offset();
  }

  offsetField(slot: number, object: number): void {
    this.#prependOffset(object);
    this.#fields[slot] = this.#offset();
  }

  /** Integers are left out when they are the default, like all scalars. */
  int64Field(slot: number, value: number | bigint): void {
    if (value === 0 || value === 0n) return;
    this.#prepare(8, 0);
    this.#head -= 8;
    if (typeof value === 'bigint') {
      this.#view.setBigInt64(this.#head, value, true);
    } else {
      const high = Math.floor(value / TWO_32);
      this.#view.setUint32(this.#head, value - high * TWO_32, true);
      this.#view.setInt32(this.#head + 4, high, true);
    }
    this.#fields[slot] = this.#offset();
  }

  /** Written modulo 2^32, be it signed or not. */
  int32Field(slot: number, value: number): void {
    if (value === 0) return;
    this.#prepare(4, 0);
    this.#head -= 4;
    this.#view.setInt32(this.#head, value | 0, true);
    this.#fields[slot] = this.#offset();
  }

  int8Field(slot: number, value: number, defaultValue: number): void {
    if (value === defaultValue) return;
    this.#prepare(1, 0);
    this.#head--;
    this.#view.setInt8(this.#head, value);
    this.#fields[slot] = this.#offset();
  }

  endTable(): number {
    this.#prepare(4, 0);
    this.#head -= 4;
    const table = this.#offset();
    while (this.#fieldCount > 0 && this.#fields[this.#fieldCount - 1] === 0) this.#fieldCount--; // a vtable ends with the last field that is there
    const placeholder = this.#head;
    const known = this.#findVtable(table);
    this.#view.setInt32(placeholder, (known ?? this.#writeVtable(table)) - table, true);
    return table;
  }

  /** The finished buffer: the tail of a larger one. */
  finish(root: number): Uint8Array<ArrayBuffer> {
    this.#prepare(this.#alignment, 4);
    this.#prependOffset(root);
    return this.#bytes.subarray(this.#head);
  }

  #offset(): number {
    return this.#bytes.length - this.#head;
  }

  /** Puts zeros in front until what follows, with `extra` bytes in between, is aligned. The memory is zero already. */
  #prepare(size: number, extra: number): void {
    if (size > this.#alignment) this.#alignment = size;
    this.#head -= -(this.#offset() + extra) & (size - 1);
    if (this.#head < extra + size) throw new ZtocError('TOO_LARGE', 'zTOC is larger than was reckoned');
  }

  #copy(source: Uint8Array, start: number, end: number): void {
    this.#head -= end - start;
    if (end - start > SHORT_TEXT_BYTES) {
      this.#bytes.set(source.subarray(start, end), this.#head);
      return;
    }
    for (let from = start, to = this.#head; from < end; from++, to++) this.#bytes[to] = source[from] ?? 0;
  }

  #length(count: number): number {
    this.#head -= 4;
    this.#view.setUint32(this.#head, count, true);
    return this.#offset();
  }

  #prependOffset(object: number): void {
    this.#prepare(4, 0);
    this.#head -= 4;
    this.#view.setUint32(this.#head, this.#offset() - object, true);
  }

  /** A vtable that was written before with the same fields at the same places. The size of the table is not compared, as in Go. */
  #findVtable(table: number): number | undefined {
    const bytes = VTABLE_HEADER_BYTES + 2 * this.#fieldCount;
    for (let i = this.#vtables.length - 1; i >= 0; i--) {
      const vtable = this.#vtables[i] ?? 0;
      const at = this.#bytes.length - vtable;
      if (this.#view.getUint16(at, true) === bytes && this.#hasFields(at + VTABLE_HEADER_BYTES, table)) return vtable;
    }
    return undefined;
  }

  #hasFields(at: number, table: number): boolean {
    for (let slot = 0; slot < this.#fieldCount; slot++) {
      if (this.#view.getUint16(at + 2 * slot, true) !== this.#fieldPlace(slot, table)) return false;
    }
    return true;
  }

  #fieldPlace(slot: number, table: number): number {
    const field = this.#fields[slot] ?? 0;
    return field === 0 ? 0 : table - field;
  }

  #writeVtable(table: number): number {
    for (let slot = this.#fieldCount - 1; slot >= 0; slot--) this.#prependUint16(this.#fieldPlace(slot, table));
    this.#prependUint16(table - this.#tableEnd);
    this.#prependUint16(VTABLE_HEADER_BYTES + 2 * this.#fieldCount);
    const vtable = this.#offset();
    this.#vtables.push(vtable);
    return vtable;
  }

  #prependUint16(value: number): void {
    this.#prepare(2, 0);
    this.#head -= 2;
    this.#view.setUint16(this.#head, value, true);
  }
}
