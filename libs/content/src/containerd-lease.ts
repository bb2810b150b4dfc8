import { randomBytes } from 'node:crypto';
import { hasCode } from '@soci/errors';
import { fromContainerd, type ContainerdApi } from './containerd-api.ts';

/** Keeps what is written under it from containerd's garbage collector. Disposing of it hands its contents over to whatever points at them by then. */
export interface Lease extends AsyncDisposable {
  readonly id: string;
}

export interface LeaseOptions {
  /** After this containerd drops the lease itself, should its owner be killed; the Go tool's is 24 hours. */
  readonly expiresInMs?: number;
  readonly now?: () => number;
}

const DAY_MS = 24 * 60 * 60 * 1_000;
const RELEASE_TIMEOUT_MS = 10_000;

/** @throws {ContentError} `UNAVAILABLE`, `STORE_BROKEN` */
export async function openLease(
  { leases }: Pick<ContainerdApi, 'leases'>,
  { expiresInMs = DAY_MS, now = Date.now }: LeaseOptions,
  signal: AbortSignal,
): Promise<Lease> {
  const id = `soci-${randomBytes(12).toString('hex')}`;
  const expires = new Date(now() + expiresInMs).toISOString();
  try {
    await leases.create({ id, labels: { 'containerd.io/gc.expire': expires } }, { signal });
  } catch (cause) {
    throw fromContainerd(`create lease ${id}`, cause, signal);
  }
  return {
    id,
    async [Symbol.asyncDispose]() {
      // Its own deadline: a command that was stopped must give the lease back as well.
      const release = AbortSignal.timeout(RELEASE_TIMEOUT_MS);
      try {
        await leases.delete({ id, sync: false }, { signal: release });
      } catch (cause) {
        throw fromContainerd(`delete lease ${id}`, cause, release);
      }
    },
  };
}

/** Makes a lease that stays, unless it is there. @returns its id. @throws {ContentError} `UNAVAILABLE`, `STORE_BROKEN` */
export async function ensureLease({ leases }: Pick<ContainerdApi, 'leases'>, id: string, signal: AbortSignal): Promise<string> {
  try {
    await leases.create({ id, labels: {} }, { signal });
  } catch (cause) {
    if (!hasCode(cause, 'ALREADY_EXISTS')) throw fromContainerd(`create lease ${id}`, cause, signal);
  }
  return id;
}
