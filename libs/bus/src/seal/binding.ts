import type { bus } from '@soci/proto';
import type { BoundTo, ServiceName } from '../bus.ts';
import { Refused } from '../refusals.ts';

export const PROTOCOL_VERSION = 1;
/** A message of a clock further off is refused. */
export const MAX_CLOCK_DIFFERENCE_MS = 60_000;
const LIFE_MS = 60_000;
export const REQUEST_ID_BYTES = 16;

/** What both sides know of one exchange. */
export interface Exchange {
  readonly service: ServiceName;
  readonly method: string;
  /** The node that asks. */
  readonly node: string;
}

export type Direction = 'request' | 'answer';

export function bind(
  exchange: Exchange,
  direction: Direction,
  requestId: Uint8Array,
  { reference, host, namespaces }: BoundTo,
  nowMs: number,
): bus.Binding {
  const issuedAt = Math.round(nowMs);
  return {
    version: PROTOCOL_VERSION,
    purpose: purposeOf(exchange, direction),
    requestId: Buffer.from(requestId),
    nodeId: exchange.node,
    reference,
    host,
    namespaces: [...namespaces],
    issuedAtMs: BigInt(issuedAt),
    expiresAtMs: BigInt(issuedAt + LIFE_MS),
  };
}

/**
 * All that can be checked before the message is looked at.
 * @throws {Refused}
 */
export function checkBinding(binding: bus.Binding, exchange: Exchange, direction: Direction, nowMs: number): void {
  if (binding.version !== PROTOCOL_VERSION) throw new Refused('WRONG_VERSION');
  if (binding.nodeId !== exchange.node) throw new Refused('WRONG_NODE');
  if (binding.purpose !== purposeOf(exchange, direction)) throw new Refused('WRONG_PURPOSE');
  if (binding.requestId.length !== REQUEST_ID_BYTES) throw new Refused('UNREADABLE');
  const issuedAt = Number(binding.issuedAtMs);
  const expiresAt = Number(binding.expiresAtMs);
  if (issuedAt - nowMs > MAX_CLOCK_DIFFERENCE_MS) throw new Refused('CLOCK');
  if (expiresAt < issuedAt || expiresAt - issuedAt > LIFE_MS) throw new Refused('CLOCK');
  if (nowMs - issuedAt > MAX_CLOCK_DIFFERENCE_MS || nowMs > expiresAt) throw new Refused('EXPIRED');
}

/** @throws {Refused} when the message is about something else than it is bound to */
export function checkSubject(binding: bus.Binding, { reference, host, namespaces }: BoundTo): void {
  const isSame =
    binding.reference === reference &&
    binding.host === host &&
    binding.namespaces.length === namespaces.length &&
    binding.namespaces.every((namespace, i) => namespace === namespaces[i]);
  if (!isSame) throw new Refused('WRONG_SUBJECT');
}

function purposeOf({ service, method }: Exchange, direction: Direction): string {
  return `${service}/${method}/${direction}`;
}
