export type CriErrorCode =
  | 'UNAVAILABLE' // containerd cannot be reached
  | 'UNTRUSTED' // its socket belongs to somebody else than root
  | 'TOO_LARGE' // a message above the limit
  | 'MEMORY_FAILED' // what outlives a crash cannot be read or written
  | 'INVALID'; // what should be a gRPC message is none

/** What stood in the way of passing a call on. `code` is stable; `message` is for people and holds nothing of the call's content. */
export class CriError extends Error {
  override readonly name = 'CriError';
  readonly code: CriErrorCode;

  constructor(code: CriErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
