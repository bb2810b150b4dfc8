export type RegistryErrorCode =
  | 'UNAUTHORIZED' // no credential, or the registry or its token server refused it
  | 'DENIED' // known, but not allowed
  | 'NOT_FOUND'
  | 'RATE_LIMITED'
  | 'UNAVAILABLE' // the registry answers, with 5xx
  | 'UNREACHABLE' // it does not answer: name, connection, TLS, or the connection broke
  | 'TIMEOUT'
  | 'RANGE_REFUSED'
  | 'DIGEST_MISMATCH'
  | 'SIZE_MISMATCH'
  | 'TOO_LARGE'
  | 'REALM_REFUSED' // the token server's address must not get a credential
  | 'REDIRECT_REFUSED'
  | 'CHALLENGE_UNSUPPORTED'
  | 'CREDENTIALS_NOT_READY'
  | 'CREDENTIALS_FAILED' // a source is configured and broken; `cause` is its error
  | 'HOSTS_INVALID' // what is configured for a registry cannot be used
  | 'PROTOCOL'; // an answer that the distribution specification does not allow

export interface RegistryErrorOptions extends ErrorOptions {
  readonly status?: number;
}

/**
 * What went wrong at a registry. `code` is stable; `message` is for people: it names method, object and host, and never a credential or a query of a signed URL.
 */
export class RegistryError extends Error {
  override readonly name = 'RegistryError';
  readonly code: RegistryErrorCode;
  /** The HTTP status that led to it, if one did. */
  readonly status: number | undefined;

  constructor(code: RegistryErrorCode, message: string, options: RegistryErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status;
  }
}
