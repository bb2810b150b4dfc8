export type StatusErrorCode =
  | 'NOT_RUNNING' // nobody answers on the socket
  | 'NO_PERMISSION' // the socket belongs to another user
  | 'SOCKET_UNTRUSTED' // others may put a socket of their own in its place
  | 'INVALID'
  | 'FAILED';

/** Why the running service could not be asked, or cannot be asked safely. `code` is stable; `message` is for people. */
export class StatusError extends Error {
  override readonly name = 'StatusError';
  readonly code: StatusErrorCode;

  constructor(code: StatusErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
