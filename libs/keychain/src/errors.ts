export type KeychainErrorCode =
  | 'HELPER_MISSING' // its program is not on the path
  | 'HELPER_FAILED' // it exited with an error, or answered something that is no credential
  | 'HELPER_TIMEOUT'
  | 'SOURCE_UNTRUSTED' // somebody else can write the file that credentials come from
  | 'CONFIG_INVALID'
  | 'USER_INVALID'; // the value of --user

/** What went wrong while looking for a credential. `code` is stable; `message` is for people and holds no secret. */
export class KeychainError extends Error {
  override readonly name = 'KeychainError';
  readonly code: KeychainErrorCode;

  constructor(code: KeychainErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
