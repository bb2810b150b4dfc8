export type ContentErrorCode =
  | 'NOT_FOUND'
  | 'TOO_LARGE'
  | 'DIGEST_MISMATCH'
  | 'SIZE_MISMATCH'
  | 'DIGEST_INVALID'
  | 'UNAVAILABLE'
  | 'STORE_BROKEN';

/** What went wrong with a blob store or an image store. `code` is stable; `message` is for people. */
export class ContentError extends Error {
  override readonly name = 'ContentError';
  readonly code: ContentErrorCode;

  constructor(code: ContentErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
