import type { Logger } from '@soci/log';
import { fingerprint } from './credential.ts';
import { parsePullSecret, type PullSecretType } from './docker-config-file.ts';
import type { KeyringEntry } from './keyring.ts';

/** What is needed of a Kubernetes secret. */
export interface PullSecret {
  readonly namespace: string;
  readonly name: string;
  readonly type: PullSecretType;
  /** Of the member that the type names, decoded; undefined where the secret has none. */
  readonly document: string | undefined;
}

/** Of one secret; a tenant's document must not make everybody's look-ups slow. */
const MAX_ENTRIES = 1_000;

/** @returns the logins of a secret in its order, at most a thousand; undefined for one that cannot be used, of which the log says why and nothing more */
export function readPullSecret(secret: PullSecret, sinceMs: number, log: Logger): readonly KeyringEntry[] | undefined {
  const { type, document } = secret;
  const pullSecret = `${secret.namespace}/${secret.name}`;
  if (document === undefined) {
    log.warn({ pullSecret, type }, 'pull secret without the member its type names');
    return undefined;
  }
  const skip = (key: string, reason: string): void => log.warn({ pullSecret, key, reason }, 'pull secret entry skipped');
  try {
    const { auths, skipped } = parsePullSecret(type, document);
    for (const { key, reason } of skipped.slice(0, MAX_ENTRIES)) skip(key, reason);
    const entries: KeyringEntry[] = [];
    for (const [key, credential] of auths) {
      // A password alone is no login for the kubelet, and no token either.
      if (credential.kind === 'basic' && credential.username === '') skip(key, 'a password without a user name');
      else entries.push({ key, candidate: { credential, entry: `secret ${pullSecret}`, sinceMs } });
    }
    if (entries.length > MAX_ENTRIES)
      log.warn({ pullSecret, entries: entries.length, used: MAX_ENTRIES }, 'pull secret has too many entries');
    return entries.slice(0, MAX_ENTRIES);
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    log.warn({ pullSecret, cause }, 'pull secret not usable');
    return undefined;
  }
}

/** Whether the logins of a secret are as they were, whenever they were read. */
export function haveSameLogins(before: readonly KeyringEntry[], after: readonly KeyringEntry[]): boolean {
  if (before.length !== after.length) return false;
  return before.every(({ key, candidate }, i) => {
    const other = after[i];
    return other !== undefined && key === other.key && fingerprint(candidate.credential) === fingerprint(other.candidate.credential);
  });
}
