import { createAccount, createCurve, createUser, type KeyPair } from '@nats-io/nkeys';
import type { ServiceName } from '../bus.ts';
import type { Identity } from '../subjects.ts';

/** Kinds of keys: to log in to the server, to seal with, to sign statements with. */
export type KeyKind = 'login' | 'curve' | 'signing';

export const KEY_KINDS: readonly KeyKind[] = ['login', 'curve', 'signing'];

/** Public keys of one kind: two while they are being changed, the newer one last. */
export type PublicKeys = readonly string[];

/** One client of the bus. */
export interface Member extends Identity {
  readonly login: PublicKeys;
  readonly curve: PublicKeys;
  /** None for a service that only asks. */
  readonly signing: PublicKeys;
}

export function answers(service: ServiceName): boolean {
  return service !== 'registry-fetcher';
}

export function createPair(kind: KeyKind): KeyPair {
  switch (kind) {
    case 'login':
      return createUser();
    case 'curve':
      return createCurve();
    case 'signing':
      return createAccount(); // of a kind that no server takes for a login
  }
}

export function seedFile(kind: KeyKind): string {
  return `${kind}.seed`;
}

export function nextSeedFile(kind: KeyKind): string {
  return `${kind}-next.seed`;
}

/** Others have to know the new key before it is used; but a service that answers says itself which curve keys it has, and uses the new one last. */
export function isUsedAtOnce({ service }: Identity, kind: KeyKind): boolean {
  return kind !== 'curve' || !answers(service);
}
