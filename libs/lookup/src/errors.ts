export type LookupErrorCode =
  | 'NOT_READY' // the service that knows cannot be reached
  | 'INVALID'; // what it says cannot be read

/** What went wrong while another service was asked for what it knows. */
export class LookupError extends Error {
  override readonly name = 'LookupError';
  readonly code: LookupErrorCode;

  constructor(code: LookupErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
