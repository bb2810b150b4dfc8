import { crc32 } from 'node:zlib';
import { LayerError } from './errors.ts';

export const DIGEST_BYTES = 32;

/** How a span's bytes are packed in the blob. */
export type SpanKind = 'gzip' | 'uncompressed';

/**
 * What serving a layer needs to know of its zTOC, as columns in one SharedArrayBuffer: a hundred bytes a span, where the zTOC itself
 * (32 KiB windows, names) stays on disk. Made from a zTOC once and kept beside it.
 */
export interface SpanIndex {
  /** All of it, as it stands on disk; threads share it. */
  readonly shared: SharedArrayBuffer;
  readonly kind: SpanKind;
  readonly spanCount: number;
  /** Bytes of the tar that the spans hold. */
  readonly dataSizeBytes: number;
  /** Bytes of the blob in the registry. */
  readonly blobSizeBytes: number;
  /** Where each span begins in the uncompressed tar, and `dataSizeBytes` last. */
  readonly startBytes: Float64Array;
  /** The span's bytes in the blob; neighbours may share a byte. */
  readonly blobStartBytes: Float64Array;
  readonly blobEndBytes: Float64Array;
  /** Unused bits in front of the span, see `inflateSpan`. */
  readonly bits: Uint8Array;
  /** Where the span's 32 KiB window stands in the zTOC; -1 when it has none. */
  readonly windowOffsetBytes: Float64Array;
  /** crc32 of that window: with a damaged one a span inflates to wrong bytes and no error. */
  readonly windowChecksums: Uint32Array;
  /** sha256 of the span's bytes in the blob, 32 bytes each. */
  readonly digests: Uint8Array;
  /** Last span of the file that runs over the span's end; the span itself when none does. */
  readonly runsToSpan: Uint32Array;
  /** First tar header that lies wholly inside the span; -1 when none does. */
  readonly headerOffsetBytes: Float64Array;
  /** sha256 over the records (see `tar-headers.ts`) of all headers wholly inside the span, 32 bytes each. */
  readonly headerDigests: Uint8Array;
  /** Headers that lie in more than one span: where they begin and end, and the sha256 of their record. */
  readonly splitCount: number;
  readonly splitStartBytes: Float64Array;
  readonly splitEndBytes: Float64Array;
  readonly splitDigests: Uint8Array;
}

const MAGIC = 0x31585053; // SPX1
const PREFIX_BYTES = 64;
const KINDS: readonly SpanKind[] = ['gzip', 'uncompressed'];
/** More spans than a layer can have: 64 Mi would be 256 TiB of 4 MiB spans. */
const MAX_SPANS = 1 << 26;

/** Room for an index of that many spans; fill its columns, then `seal` it. */
export function newSpanIndex(
  kind: SpanKind,
  spanCount: number,
  splitCount: number,
  dataSizeBytes: number,
  blobSizeBytes: number,
): SpanIndex {
  const shared = new SharedArrayBuffer(totalBytes(spanCount, splitCount));
  const view = new DataView(shared);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, spanCount, true);
  view.setUint32(8, splitCount, true);
  view.setUint32(12, KINDS.indexOf(kind), true);
  view.setFloat64(16, dataSizeBytes, true);
  view.setFloat64(24, blobSizeBytes, true);
  return viewSpanIndex(shared);
}

/** Writes the checksum that `readSpanIndex` asks for. */
export function sealSpanIndex({ shared }: SpanIndex): void {
  new DataView(shared).setUint32(32, checksum(shared), true);
}

/**
 * The index in the bytes of a file.
 * @throws {LayerError} `STORE_BROKEN` when these are not the bytes of a sealed index
 */
export function readSpanIndex(bytes: Uint8Array): SpanIndex {
  const head = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < PREFIX_BYTES || head.getUint32(0, true) !== MAGIC) throw new LayerError('STORE_BROKEN', 'span index: not one');
  const spanCount = head.getUint32(4, true);
  const splitCount = head.getUint32(8, true);
  if (spanCount > MAX_SPANS || splitCount > MAX_SPANS || totalBytes(spanCount, splitCount) !== bytes.length)
    throw new LayerError('STORE_BROKEN', 'span index: wrong length');
  const shared = new SharedArrayBuffer(bytes.length);
  new Uint8Array(shared).set(bytes);
  if (head.getUint32(32, true) !== checksum(shared)) throw new LayerError('STORE_BROKEN', 'span index: wrong checksum');
  return viewSpanIndex(shared);
}

/** The columns of an index that another thread has read. */
export function viewSpanIndex(shared: SharedArrayBuffer): SpanIndex {
  const view = new DataView(shared);
  const spanCount = view.getUint32(4, true);
  const splitCount = view.getUint32(8, true);
  let at = PREFIX_BYTES;
  const floats = (length: number): Float64Array => new Float64Array(shared, take(length * 8), length);
  const words = (length: number): Uint32Array => new Uint32Array(shared, take(length * 4), length);
  const octets = (length: number): Uint8Array => new Uint8Array(shared, take(length), length);
  const take = (length: number): number => {
    at += length;
    return at - length;
  };
  return {
    shared,
    kind: KINDS[view.getUint32(12, true)] ?? 'gzip',
    spanCount,
    splitCount,
    dataSizeBytes: view.getFloat64(16, true),
    blobSizeBytes: view.getFloat64(24, true),
    startBytes: floats(spanCount + 1),
    blobStartBytes: floats(spanCount),
    blobEndBytes: floats(spanCount),
    windowOffsetBytes: floats(spanCount),
    headerOffsetBytes: floats(spanCount),
    splitStartBytes: floats(splitCount),
    splitEndBytes: floats(splitCount),
    windowChecksums: words(spanCount),
    runsToSpan: words(spanCount),
    bits: octets(spanCount),
    digests: octets(spanCount * DIGEST_BYTES),
    headerDigests: octets(spanCount * DIGEST_BYTES),
    splitDigests: octets(splitCount * DIGEST_BYTES),
  };
}

/** The span that holds a byte of the tar; the last one for an offset past the end. */
export function spanAt({ startBytes, spanCount }: Pick<SpanIndex, 'startBytes' | 'spanCount'>, offsetBytes: number): number {
  let low = 0;
  let high = spanCount - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((startBytes[middle] ?? Infinity) <= offsetBytes) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Bytes of a span in the blob. */
export function blobLength({ blobStartBytes, blobEndBytes }: SpanIndex, span: number): number {
  return (blobEndBytes[span] ?? 0) - (blobStartBytes[span] ?? 0);
}

/** Bytes of a span in the tar. */
export function dataLength({ startBytes }: SpanIndex, span: number): number {
  return (startBytes[span + 1] ?? 0) - (startBytes[span] ?? 0);
}

function totalBytes(spanCount: number, splitCount: number): number {
  return PREFIX_BYTES + 8 * (5 * spanCount + 1 + 2 * splitCount) + spanCount * (2 * 4 + 1 + 2 * DIGEST_BYTES) + splitCount * DIGEST_BYTES;
}

function checksum(shared: SharedArrayBuffer): number {
  return crc32(new Uint8Array(shared, PREFIX_BYTES), crc32(new Uint8Array(shared, 0, 32)));
}
