import { FuseError } from './fuse-error.ts';

/**
 * The two files of one layer. Descriptors are lent: the owner keeps them open until `FlatFuse.removeSlot` has resolved, and closes them then.
 */
export interface Slot {
  /** 1 to `MAX_SLOT`; never used twice in the life of a FUSE mount, because the page cache outlives what was mounted from it. */
  readonly slot: number;
  readonly namesFd: number;
  readonly namesSizeBytes: number;
  readonly bytesFd: number;
  /** What the file looks like to the kernel: a multiple of 512. What lies past `dataSizeBytes` reads as zeros. */
  readonly bytesSizeBytes: number;
  /** Size of the uncompressed tar. */
  readonly dataSizeBytes: number;
  /** Where each span of the tar begins, on shared memory; one entry more than there are spans, the last is `dataSizeBytes`. */
  readonly spanStartBytes: Float64Array;
  /** One bit a span, on shared memory: bit `i % 32` of word `i >>> 5` says that span i may be read from `bytesFd`. Set after the bytes were written. */
  readonly present: Int32Array;
}

export const MAX_SLOT = 2 ** 30;
export const ROOT_NODE = 1;
export const DEVICE_BLOCK_BYTES = 512;

export type SlotFile = 'names' | 'bytes';

/** Node ids are a pure function of what is on disk: a new process gives the same answers, and nothing has to be remembered. */
export function nodeId(slot: number, file: SlotFile): number {
  return slot * 2 + (file === 'bytes' ? 1 : 0);
}

export function toSlot(node: number): { readonly slot: number; readonly file: SlotFile } {
  return { slot: node >>> 1, file: node & 1 ? 'bytes' : 'names' };
}

/** `12.bytes` */
export function fileName(slot: number, file: SlotFile): string {
  return `${slot}.${file}`;
}

/** The slot and file of a name as the kernel sends it; `undefined` for whatever `fileName` would not have made. */
export function parseFileName(name: string): { readonly slot: number; readonly file: SlotFile } | undefined {
  const match = /^([1-9][0-9]{0,9})\.(names|bytes)$/.exec(name);
  if (match === null) return undefined;
  const slot = Number(match[1]);
  return slot <= MAX_SLOT ? { slot, file: match[2] === 'bytes' ? 'bytes' : 'names' } : undefined;
}

/** @throws {FuseError} `SLOT_INVALID` naming what is wrong: a wrong size would show as EIO or as wrong bytes long after */
export function checkSlot({ slot, namesSizeBytes, bytesSizeBytes, dataSizeBytes, spanStartBytes, present }: Slot): void {
  const refuse = (what: string): never => {
    throw new FuseError('SLOT_INVALID', `slot ${slot}: ${what}`);
  };
  if (!Number.isInteger(slot) || slot < 1 || slot > MAX_SLOT) refuse('number out of range');
  if (![namesSizeBytes, bytesSizeBytes, dataSizeBytes].every((size) => Number.isSafeInteger(size) && size >= 0))
    refuse('size out of range');
  if (bytesSizeBytes % DEVICE_BLOCK_BYTES !== 0) refuse(`size ${bytesSizeBytes} is no multiple of ${DEVICE_BLOCK_BYTES}`);
  if (dataSizeBytes > bytesSizeBytes) refuse('data larger than the file');
  const spanCount = spanStartBytes.length - 1;
  if (spanCount < 0 || spanStartBytes[spanCount] !== dataSizeBytes) refuse('spans do not end with the data');
  if (spanCount > 0 && spanStartBytes[0] !== 0) refuse('spans do not begin with the data');
  for (let i = 0; i < spanCount; i++) {
    if (!((spanStartBytes[i] ?? 0) < (spanStartBytes[i + 1] ?? 0))) refuse(`span ${i} is empty or out of order`);
  }
  if (present.length * 32 < spanCount) refuse('bitmap too small');
  if (!(spanStartBytes.buffer instanceof SharedArrayBuffer && present.buffer instanceof SharedArrayBuffer))
    refuse('spans or bitmap not on shared memory');
}

/** Whether every span that a range touches is in the data file. The range must lie inside the data. */
export function hasRange({ spanStartBytes, present }: Slot, offsetBytes: number, sizeBytes: number): boolean {
  const endBytes = offsetBytes + sizeBytes;
  const spanCount = spanStartBytes.length - 1;
  for (let span = findSpan(spanStartBytes, offsetBytes); span < spanCount && (spanStartBytes[span] ?? 0) < endBytes; span++) {
    if ((Atomics.load(present, span >>> 5) & (1 << (span & 31))) === 0) return false;
  }
  return true;
}

/** The last span that begins at or before the offset. */
function findSpan(starts: Float64Array, offsetBytes: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if ((starts[middle] ?? 0) <= offsetBytes) low = middle;
    else high = middle;
  }
  return low;
}
