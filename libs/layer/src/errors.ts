export type LayerErrorCode =
  | 'ZTOC_INVALID'
  | 'NOT_SERVABLE'
  | 'DIGEST_MISMATCH'
  | 'HEADER_MISMATCH'
  | 'SPAN_INVALID'
  | 'SHORT_ANSWER'
  | 'STALLED'
  | 'NO_SOURCE'
  | 'NOT_FOUND'
  | 'TOO_LARGE'
  | 'STORE_BROKEN' // what is on disk is not what was written
  | 'DISK_FAILED' // the operating system refused: no space, no descriptor, an error of the device
  | 'IN_USE'
  | 'CLOSED';

/** What went wrong with a layer's data on this node. `code` is stable; `message` is for people and names layer and span. */
export class LayerError extends Error {
  override readonly name = 'LayerError';
  readonly code: LayerErrorCode;

  constructor(code: LayerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
