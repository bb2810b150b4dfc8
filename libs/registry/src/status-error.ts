import type { Rejection } from './authenticator.ts';
import { RegistryError, type RegistryErrorCode } from './errors.ts';
import type { ErrorAnswer } from './registry-answer.ts';

/** The error for an answer that is no success, and that no credential can change. */
export function statusError(status: number, { codes }: Pick<ErrorAnswer, 'codes'>, from?: URL): RegistryError {
  const where = from === undefined ? '' : `${from.host} `;
  return new RegistryError(codeOf(status), [`${where}answered ${status}`, ...codes].join(' '), { status });
}

/** Says of each credential where it came from and what became of it. */
export function refusedError(status: number, { codes }: ErrorAnswer, rejections: readonly Rejection[]): RegistryError {
  const code = status === 403 ? 'DENIED' : 'UNAUTHORIZED';
  const what = [`answered ${status}`, ...codes].join(' ');
  const who = rejections.map(({ origin, why }) => (why === what ? origin : `${origin}: ${why}`)).join('; ');
  const cause = rejections.find((rejection) => rejection.cause !== undefined)?.cause;
  return new RegistryError(code, who === '' ? what : `${what}; ${who}`, { status, ...(cause === undefined ? {} : { cause }) });
}

function codeOf(status: number): RegistryErrorCode {
  if (status === 401) return 'UNAUTHORIZED';
  if (status === 403) return 'DENIED';
  if (status === 404) return 'NOT_FOUND';
  if (status === 408) return 'TIMEOUT';
  if (status === 416) return 'RANGE_REFUSED';
  if (status === 429) return 'RATE_LIMITED';
  return status >= 500 ? 'UNAVAILABLE' : 'PROTOCOL';
}
