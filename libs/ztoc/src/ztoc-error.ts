/**
 * - `INVALID`: the bytes are no zTOC, or one whose offsets, sizes or counts contradict each other.
 * - `UNSUPPORTED`: a compression algorithm that nothing here reads or writes.
 * - `LAYER_CORRUPT`: the layer is not what its algorithm says: broken or truncated gzip or tar, or bytes after its end.
 * - `ENTRY_UNSUPPORTED`: the tar holds an entry of a type that the format has no name for (global PAX header, contiguous file, ...).
 * - `SPARSE_UNSUPPORTED`: the tar holds a sparse file, whose bytes are not in the archive one after the other.
 * - `TOO_LARGE`: the zTOC would exceed what its 32-bit offsets can address.
 * - `READ_FAILED`: the source of the layer could not be read; see `cause`.
 * - `BUILDER_CLOSED`: the builder was closed, or its thread died.
 * - `BUSY`: too many layers wait for a thread.
 */
export type ZtocErrorCode =
  | 'INVALID'
  | 'UNSUPPORTED'
  | 'LAYER_CORRUPT'
  | 'ENTRY_UNSUPPORTED'
  | 'SPARSE_UNSUPPORTED'
  | 'TOO_LARGE'
  | 'READ_FAILED'
  | 'BUILDER_CLOSED'
  | 'BUSY';

/** What went wrong while reading or building a zTOC. `code` is stable; `message` is for people. */
export class ZtocError extends Error {
  override readonly name = 'ZtocError';
  readonly code: ZtocErrorCode;

  constructor(code: ZtocErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
