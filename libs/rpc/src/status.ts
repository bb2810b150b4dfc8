import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { describeError } from '@soci/errors';
import { RpcError, type StatusName } from './errors.ts';

/**
 * Which status a thrown error's `code` becomes. The names of the statuses stand for themselves, so that any library may use them as codes.
 *
 * errno names are left out on purpose but for a full disk: containerd acts on NOT_FOUND and ALREADY_EXISTS, and a missing helper
 * file somewhere below a call must not look like a missing snapshot.
 */
const STATUS_OF_CODE: ReadonlyMap<string, StatusName> = new Map<string, StatusName>([
  ...statusNames().map((name): [string, StatusName] => [name, name]),
  ['INVALID', 'INVALID_ARGUMENT'],
  ['TOO_LARGE', 'RESOURCE_EXHAUSTED'],
  ['ENOSPC', 'RESOURCE_EXHAUSTED'],
  ['EDQUOT', 'RESOURCE_EXHAUSTED'],
  ['DIGEST_MISMATCH', 'DATA_LOSS'],
  ['SIZE_MISMATCH', 'DATA_LOSS'],
  ['UNAUTHORIZED', 'UNAUTHENTICATED'],
  ['DENIED', 'PERMISSION_DENIED'],
  ['UNREACHABLE', 'UNAVAILABLE'],
  ['NOT_READY', 'UNAVAILABLE'],
  ['TIMEOUT', 'DEADLINE_EXCEEDED'],
  ['ABORT_ERR', 'CANCELLED'],
]);

/** The status that tells a caller of this error; one that is not in the table becomes UNKNOWN. */
export function toStatus(error: unknown): { code: status; details: string; metadata: Metadata } {
  return { code: status[statusNameOf(error)], details: describeError(error), metadata: new Metadata() };
}

/** The error a caller throws for a status that is not OK. */
export function fromStatus({ code, details }: Pick<ServiceError, 'code' | 'details'>): RpcError {
  const name: unknown = status[code];
  return new RpcError(isStatusName(name) ? name : 'UNKNOWN', details === '' ? `call ended with status ${code}` : plainWords(details));
}

/** The client library wraps the one thing that matters, as in `connect ENOENT /run/x.sock`, into its own state. */
function plainWords(details: string): string {
  return /^No connection established\. Last error: (?:Error: )?(.+?)(?:\. Resolution note: .*)?$/s.exec(details)?.[1] ?? details;
}

function statusNameOf(error: unknown): StatusName {
  if (!(error instanceof Error)) return 'UNKNOWN';
  if (error.name === 'TimeoutError') return 'DEADLINE_EXCEEDED';
  if (error.name === 'AbortError') return 'CANCELLED';
  const code: unknown = 'code' in error ? error.code : undefined;
  return (typeof code === 'string' ? STATUS_OF_CODE.get(code) : undefined) ?? 'UNKNOWN';
}

function isStatusName(name: unknown): name is StatusName {
  return typeof name === 'string' && name !== 'OK' && name in status;
}

function statusNames(): StatusName[] {
  return Object.keys(status).filter((name): name is StatusName => isStatusName(name) && Number.isNaN(Number(name)));
}
