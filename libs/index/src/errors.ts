export type IndexErrorCode =
  | 'EMPTY_INDEX'
  | 'PLATFORM_NOT_FOUND'
  | 'IMAGE_INVALID'
  | 'LAYER_UNSUPPORTED'
  | 'BUILD_FAILED'
  | 'INDEX_INVALID'
  | 'PREFETCH_INVALID'
  | 'OPTION_INVALID'
  | 'LAYOUT_INVALID'
  | 'OUTPUT_REFUSED'
  | 'DATABASE_UNUSABLE'
  // A blob of a layout; the codes are those that content stores have for the same.
  | 'NOT_FOUND'
  | 'TOO_LARGE'
  | 'DIGEST_MISMATCH'
  | 'SIZE_MISMATCH';

/** What went wrong while making or reading a SOCI index. `code` is stable; `message` is for people. */
export class IndexError extends Error {
  override readonly name = 'IndexError';
  readonly code: IndexErrorCode;

  constructor(code: IndexErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
