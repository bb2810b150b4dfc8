export type BusErrorCode =
  | 'AWAY' // there is no connection to a server
  | 'NO_RESPONDER' // nobody serves the method at present
  | 'TIMED_OUT'
  | 'BUSY' // here or there: too much is under way
  | 'FORBIDDEN' // the server's permissions do not allow it
  | 'REFUSED' // the other side did not take the request; `reason` says why
  | 'FAILED' // the other side took it and could not answer
  | 'INVALID' // an answer, or a message to be sent, is not as it has to be
  | 'TOO_LARGE'
  | 'KEYS_UNUSABLE' // the folder of keys lacks something, or others can read it
  | 'CLOSED';

/** What went wrong between services. `code` is stable; `message` is for people and holds no word of what was sent. */
export class BusError extends Error {
  override readonly name = 'BusError';
  readonly code: BusErrorCode;
  /** With `REFUSED`: the other side's word for it. */
  readonly reason: string | undefined;

  constructor(code: BusErrorCode, message: string, { reason, ...options }: ErrorOptions & { readonly reason?: string } = {}) {
    super(message, options);
    this.code = code;
    this.reason = reason;
  }
}
