import { FlatbufferReader, guarded, readSize } from './flatbuffer-reader.ts';
import { ZtocError } from './ztoc-error.ts';

/** How a layer's bytes are compressed. */
export type ZtocAlgorithm = 'gzip' | 'uncompressed';

/** What a zinfo blob says: where decoding may start. One record a span. */
export interface Checkpoints {
  readonly count: number;
  /** The span size asked for when the blob was made; an int64. */
  readonly spanSize: bigint;
  /** Offset in the compressed layer of the first byte that is wholly unread. */
  inputOffset(i: number): number;
  /** Offset in the uncompressed stream. */
  outputOffset(i: number): number;
  /** How many high bits of the byte before `inputOffset` are still unread. */
  bits(i: number): number;
  /** The 32,768 uncompressed bytes before `outputOffset`; zeros where there are none. Not a copy. */
  window(i: number): Uint8Array;
}

export const WINDOW_BYTES = 32768;
export const BLOB_HEADER_BYTES = 12;
export const CHECKPOINT_BYTES = 17 + WINDOW_BYTES;
const ZERO_WINDOW = new Uint8Array(WINDOW_BYTES);
/** Where version 1 blobs, which leave the first checkpoint out, take it to be: after a gzip header without optional fields. */
const BARE_GZIP_HEADER_BYTES = 10;

/**
 * Reads the checkpoint blob of a gzip layer, of either version: the length tells which.
 *
 * @param blob 12 bytes of header, then 32,785 bytes a checkpoint
 * @throws {ZtocError} `INVALID` when the length fits no version
 */
export function readGzipCheckpoints(blob: Uint8Array): Checkpoints {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  if (blob.length < BLOB_HEADER_BYTES) throw new ZtocError('INVALID', `checkpoint blob of ${blob.length} bytes`);
  const count = view.getInt32(0, true);
  const implied = impliedCheckpoints(blob.length, count);
  const start = (i: number) => BLOB_HEADER_BYTES + (i - implied) * CHECKPOINT_BYTES;
  return {
    count,
    spanSize: view.getBigInt64(4, true),
    inputOffset: (i) => (i < implied ? BARE_GZIP_HEADER_BYTES : readSize(view, start(i))),
    outputOffset: (i) => (i < implied ? 0 : readSize(view, start(i) + 8)),
    bits: (i) => (i < implied ? 0 : view.getUint8(start(i) + 16)),
    window: (i) => (i < implied ? ZERO_WINDOW : blob.subarray(start(i) + 17, start(i) + CHECKPOINT_BYTES)),
  };
}

/** How many checkpoints at the start are not stored: none in version 2, one in version 1. */
function impliedCheckpoints(blobBytes: number, count: number): number {
  const expected = BLOB_HEADER_BYTES + CHECKPOINT_BYTES * count;
  if (count >= 0 && blobBytes === expected) return 0;
  if (count >= 1 && blobBytes === expected - CHECKPOINT_BYTES) return 1;
  throw new ZtocError('INVALID', `checkpoint blob of ${blobBytes} bytes says it holds ${count} checkpoints`);
}

/** The span count of an uncompressed layer is at most this: more digests do not fit into a zTOC. */
const MAX_SPANS = 2 ** 26;

/**
 * Reads the blob of an uncompressed layer: a small flatbuffer with the span size and the layer's size. Spans are cut every span size.
 *
 * @throws {ZtocError} `INVALID` when it is none
 */
export function readTarCheckpoints(blob: Uint8Array): Checkpoints {
  return guarded('tar zinfo', () => {
    const reader = new FlatbufferReader(blob);
    const root = reader.root();
    const spanSize = reader.bigInt64(root, 1);
    const sizeBytes = reader.size(root, 2);
    if (spanSize <= 0n) throw new ZtocError('INVALID', `span size ${spanSize.toString()}`);
    const spanSizeBytes = Number(spanSize);
    const count = Math.ceil(sizeBytes / spanSizeBytes);
    if (count > MAX_SPANS) throw new ZtocError('INVALID', `${sizeBytes} bytes in spans of ${spanSizeBytes}`);
    return {
      count,
      spanSize,
      inputOffset: (i) => i * spanSizeBytes,
      outputOffset: (i) => i * spanSizeBytes,
      bits: () => 0,
      window: () => ZERO_WINDOW,
    };
  });
}
