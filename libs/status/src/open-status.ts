import { hasCode } from '@soci/errors';
import { status as api } from '@soci/proto';
import { openChannel } from '@soci/rpc';
import type { CredentialsReport } from './credentials-report.ts';
import { StatusError } from './errors.ts';
import { fromWireReport } from './credentials-wire.ts';
import type { HealthReport } from './health-report.ts';
import type { StatusReport } from './status-report.ts';
import { fromWireHealth, fromWireStatus } from './status-wire.ts';

export interface CredentialsRequest {
  /** As people write it. */
  readonly reference: string;
  /** Another registry than the image's own, as a mirror is. */
  readonly host?: string;
  /** Kubernetes namespaces; left out: those that are known to have pulled the image. */
  readonly namespaces?: readonly string[];
}

/** A running service that can be asked about itself. */
export interface StatusClient extends Disposable {
  /** @throws {StatusError} */
  credentials(request: CredentialsRequest, signal: AbortSignal): Promise<CredentialsReport>;
  /** @throws {StatusError} */
  health(signal: AbortSignal): Promise<{ readonly live: HealthReport; readonly ready: HealthReport }>;
  /** @throws {StatusError} */
  status(signal: AbortSignal): Promise<StatusReport>;
}

/** Somewhat more than the service takes at most: for what it asks others, and for what it knows by itself. */
const DEADLINE_MS = 75_000;
const OWN_DEADLINE_MS = 5_000;

/**
 * Connects at the first question.
 *
 * @param address `[admin] address` of the service: a path or `unix://path`
 * @throws {RpcError} `ADDRESS_INVALID`
 */
export function openStatus(address: string): StatusClient {
  const channel = openChannel({ address, deadlineMs: DEADLINE_MS });
  const client = channel.client(api.StatusServiceService);
  const ask = async <T>(signal: AbortSignal, question: () => Promise<T>): Promise<T> => {
    try {
      return await question();
    } catch (cause) {
      if (signal.aborted || cause instanceof StatusError) throw cause;
      throw toStatusError(address, cause);
    }
  };
  return {
    credentials: ({ reference, host = '', namespaces = [] }, signal) =>
      ask(signal, async () => fromWireReport(await client.credentials({ reference, host, namespaces: [...namespaces] }, { signal }))),
    health: (signal) =>
      ask(signal, async () => {
        const { live, ready } = await client.health({}, { signal, deadlineMs: OWN_DEADLINE_MS });
        return { live: fromWireHealth(live), ready: fromWireHealth(ready) };
      }),
    status: (signal) => ask(signal, async () => fromWireStatus(await client.status({}, { signal, deadlineMs: OWN_DEADLINE_MS }))),
    [Symbol.dispose]: () => channel[Symbol.dispose](),
  };
}

function toStatusError(address: string, cause: unknown): StatusError {
  if (hasCode(cause, 'INVALID_ARGUMENT')) return new StatusError('INVALID', cause.message, { cause });
  if (!hasCode(cause, 'UNAVAILABLE')) return new StatusError('FAILED', `ask the service at ${address}`, { cause });
  const isDenied = /\b(?:EACCES|EPERM)\b/.test(cause.message);
  return isDenied
    ? new StatusError('NO_PERMISSION', `admin socket ${address}`, { cause })
    : new StatusError('NOT_RUNNING', `no service answers at ${address}`, { cause });
}
