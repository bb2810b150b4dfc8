/** Every code that may come over the wire; those of registries are spelled as in `@soci/registry`. */
export const FETCHER_ERROR_CODES = [
  'NO_INDEX', // the image has none, or may not be looked for one
  'INDEX_INVALID',
  'MANIFEST_INVALID',
  'REQUEST_INVALID',
  'UNAUTHORIZED',
  'DENIED',
  'NOT_FOUND',
  'RATE_LIMITED',
  'UNAVAILABLE',
  'UNREACHABLE',
  'TIMEOUT',
  'RANGE_REFUSED',
  'DIGEST_MISMATCH',
  'SIZE_MISMATCH',
  'TOO_LARGE',
  'REALM_REFUSED',
  'REDIRECT_REFUSED',
  'CHALLENGE_UNSUPPORTED',
  'CREDENTIALS_NOT_READY',
  'CREDENTIALS_FAILED',
  'HOSTS_INVALID',
  'PROTOCOL',
  'UNKNOWN',
] as const;

export type FetcherErrorCode = (typeof FETCHER_ERROR_CODES)[number];

/** Why something could not be fetched. `code` is stable, also over the wire; `message` is for people and holds no secret. */
export class FetcherError extends Error {
  override readonly name = 'FetcherError';
  readonly code: FetcherErrorCode;

  constructor(code: FetcherErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The code that stands for whatever was thrown. */
export function fetcherErrorCode(error: unknown): FetcherErrorCode {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined;
  return toFetcherErrorCode(code);
}

/** A code as it came over the wire. */
export function toFetcherErrorCode(code: unknown): FetcherErrorCode {
  return FETCHER_ERROR_CODES.find((known) => known === code) ?? 'UNKNOWN';
}
