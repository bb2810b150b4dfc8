export type FuseErrorCode =
  | 'SLOT_INVALID' // sizes, offsets or number of a slot make no sense
  | 'SLOT_IN_USE' // a slot number has one life in a mount
  | 'INIT_FAILED' // the kernel did not begin the session
  | 'WORKER_FAILED' // a serving thread could not be started or stopped
  | 'REPLY_FAILED' // the kernel refused an answer
  | 'KEEPER_FAILED'; // the keeper does not hold what it was to hold

/** What went wrong between the kernel and the flat filesystem. */
export class FuseError extends Error {
  override readonly name = 'FuseError';
  readonly code: FuseErrorCode;

  constructor(code: FuseErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
