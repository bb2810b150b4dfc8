import { ZtocError } from './ztoc-error.ts';

const TWO_32 = 2 ** 32;
/** Go's writer stops there; positions of this reader are 32-bit. */
const MAX_BYTES = 2 ** 31;

/**
 * Reads tables of a flatbuffer from an untrusted source. Positions are absolute; position 0 stands for "absent" (it is the root offset,
 * where no table or string can begin). Every read is inside the buffer or throws.
 *
 * @see https://flatbuffers.dev/internals
 */
export class FlatbufferReader {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(bytes: Uint8Array) {
    if (bytes.length > MAX_BYTES) throw new ZtocError('INVALID', `flatbuffer of ${bytes.length} bytes`);
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  root(): number {
    return this.follow(0);
  }

  /** Position of a field's value, or 0 when the table does not hold it. */
  field(table: number, slot: number): number {
    const vtable = table - this.view.getInt32(table, true);
    const at = 4 + 2 * slot;
    if (at >= this.view.getUint16(vtable, true)) return 0;
    const offset = this.view.getUint16(vtable + at, true);
    return offset === 0 ? 0 : table + offset;
  }

  /** Where the offset at this position points: a table, string or vector. */
  follow(position: number): number {
    return position + this.view.getUint32(position, true);
  }

  /** Position of a table that must be there. */
  table(parent: number, slot: number): number {
    const position = this.field(parent, slot);
    if (position === 0) throw new ZtocError('INVALID', `flatbuffer: table in slot ${slot} missing`);
    return this.follow(position);
  }

  /** Number of elements of a vector of offsets; its first element is at `vector + 4`. */
  vectorLength(vector: number): number {
    const length = this.view.getUint32(vector, true);
    if (vector + 4 + 4 * length > this.bytes.length)
      throw new ZtocError('INVALID', `flatbuffer: vector of ${length} elements at ${vector} too long`);
    return length;
  }

  /** The bytes of a string or byte vector, empty when absent; not a copy. */
  byteRange(table: number, slot: number): Uint8Array {
    const position = this.field(table, slot);
    return position === 0 ? this.bytes.subarray(0, 0) : this.stringAt(this.follow(position));
  }

  stringAt(position: number): Uint8Array {
    const start = position + 4;
    return this.bytes.subarray(start, this.stringEnd(position));
  }

  /** Where the string that begins with its length at `position` ends, exclusive. */
  stringEnd(position: number): number {
    const end = position + 4 + this.view.getUint32(position, true);
    if (end > this.bytes.length) throw new ZtocError('INVALID', `flatbuffer: string at ${position} too long`);
    return end;
  }

  int8(table: number, slot: number, absent: number): number {
    const position = this.field(table, slot);
    return position === 0 ? absent : this.view.getInt8(position);
  }

  int32(table: number, slot: number): number {
    const position = this.field(table, slot);
    return position === 0 ? 0 : this.view.getInt32(position, true);
  }

  bigInt64(table: number, slot: number): bigint {
    const position = this.field(table, slot);
    return position === 0 ? 0n : this.view.getBigInt64(position, true);
  }

  /** An int64 that is a size or an offset: 0 to 2^53 - 1. */
  size(table: number, slot: number): number {
    const position = this.field(table, slot);
    return position === 0 ? 0 : readSize(this.view, position);
  }
}

/** An int64 that is a size or an offset: 0 to 2^53 - 1, else `INVALID`. */
export function readSize(view: DataView, position: number): number {
  const value = view.getUint32(position, true) + view.getInt32(position + 4, true) * TWO_32;
  if (value < 0 || value > Number.MAX_SAFE_INTEGER) throw new ZtocError('INVALID', `${value} is no size`);
  return value;
}

/** Runs a reader over untrusted bytes: a read outside them, which `DataView` refuses, becomes `INVALID`. */
export function guarded<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof RangeError) throw new ZtocError('INVALID', `${what}: offset outside the ${what}`, { cause });
    throw cause;
  }
}
