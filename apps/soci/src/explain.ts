import { describeError, hasCode } from '@soci/errors';
import type { GlobalOptions } from './options.ts';

/** What a person reads after `soci: `: what failed, why, and where we know it what helps. One line. */
export function explain(thrown: unknown, globals?: GlobalOptions): string {
  const error = firstFailure(thrown);
  const text = describeError(error);
  if (globals !== undefined && isFromContainerd(error) && hasCode(error, 'UNAVAILABLE')) {
    return `${text} (containerd's socket is ${globals.address}; --address names another)`;
  }
  if (hasCode(error, 'EACCES', 'EPERM') || (error instanceof Error && hasCode(error.cause, 'EACCES', 'EPERM'))) {
    return `${text} (run it as root?)`;
  }
  return text;
}

/** What failed first, when cleaning up after it failed as well. */
function firstFailure(error: unknown): unknown {
  return error instanceof SuppressedError ? firstFailure(error.suppressed) : error;
}

function isFromContainerd(error: unknown): error is Error {
  return error instanceof Error && error.name === 'ContentError';
}
