import { createHmac, createSecretKey, randomBytes } from 'node:crypto';
import { Secret } from './secret.ts';

/**
 * What to show a registry. A tagged union, because a pair of texts cannot tell a password without a user name from an identity token.
 * `anonymous` is a decision (`--user ""`), not the lack of an answer.
 */
export type Credential =
  | { readonly kind: 'basic'; readonly username: string; readonly password: Secret }
  | { readonly kind: 'identity_token'; readonly token: Secret } // an OAuth refresh token
  | { readonly kind: 'registry_token'; readonly token: Secret } // a ready-made bearer
  | { readonly kind: 'anonymous' };

export const ANONYMOUS: Credential = Object.freeze({ kind: 'anonymous' });

const FINGERPRINT_HEX_DIGITS = 16;
/** As an object of its own: a key in bytes is looked at anew for each hash, which costs four times as much. */
const processKey = createSecretKey(randomBytes(32));
/** Look-ups tell candidates apart by it, again and again. */
const known = new WeakMap<Credential, string>();

/**
 * Tells two credentials apart without revealing either: equal for equal credentials within this process, and of no use outside it
 * (a bare hash of a short password could be guessed). May be logged and used as a cache key; it stays when the secret is wiped.
 */
export function fingerprint(credential: Credential): string {
  if (credential.kind === 'anonymous') return 'anonymous';
  const before = known.get(credential);
  if (before !== undefined) return before;
  const hmac = createHmac('sha256', processKey).update(`${credential.kind}\0`);
  if (credential.kind === 'basic') hmac.update(`${credential.username}\0`).update(credential.password.revealBytes());
  else hmac.update(credential.token.revealBytes());
  const print = hmac.digest('hex').slice(0, FINGERPRINT_HEX_DIGITS);
  known.set(credential, print);
  return print;
}

/** A user name with a password, which may be empty. */
export function basic(username: string, password: string | Uint8Array): Credential {
  return { kind: 'basic', username, password: Secret.of(password) };
}

export function identityToken(token: string): Credential {
  return { kind: 'identity_token', token: Secret.of(token) };
}

export function registryToken(token: string): Credential {
  return { kind: 'registry_token', token: Secret.of(token) };
}
