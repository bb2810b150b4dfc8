export type SecretsErrorCode =
  | 'CONFIG_INVALID' // a name of a namespace that cannot be one
  | 'KUBECONFIG_MISSING'
  | 'KUBECONFIG_INVALID'
  | 'KUBECONFIG_UNTRUSTED' // others can write it
  | 'LOGIN_FAILED' // the token, certificate or login program that the kubeconfig names gives nothing
  | 'UNREACHABLE' // no connection, no answer in time, or one that was cut
  | 'UNAUTHORIZED' // 401: the login is not, or no longer, accepted
  | 'DENIED' // 403
  | 'GONE' // the resource version is no longer known
  | 'BUSY' // 429: it wants fewer requests
  | 'API_FAILED' // any other status
  | 'ANSWER_TOO_LARGE'
  | 'ANSWER_INVALID';

/** What went wrong while following the Kubernetes API. `code` is stable; `message` is for people and holds no secret. */
export class SecretsError extends Error {
  override readonly name = 'SecretsError';
  readonly code: SecretsErrorCode;
  /** How long the server wants to be left alone, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: SecretsErrorCode,
    message: string,
    { retryAfterMs, ...options }: ErrorOptions & { readonly retryAfterMs?: number } = {},
  ) {
    super(message, options);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}
