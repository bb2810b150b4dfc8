import type { Logger } from '@soci/log';
import { ChangeListeners, withdrawnBetween } from './change-listeners.ts';
import type { Credential } from './credential.ts';
import { parsePullSecret, type PullSecretType } from './docker-config-file.ts';
import { Keyring, type KeyringEntry } from './keyring.ts';
import { NONE, type Answer, type CredentialSource, type Lookup, type SourceChange } from './source.ts';

/** What is needed of a Kubernetes secret. */
export interface PullSecret {
  readonly namespace: string;
  readonly name: string;
  readonly type: PullSecretType;
  /** Of the member that the type names, decoded; undefined where the secret has none. */
  readonly document: string | undefined;
}

/** The last good value of a secret. */
interface KnownSecret {
  readonly namespace: string;
  readonly name: string;
  readonly auths: ReadonlyMap<string, Credential>;
  readonly sinceMs: number;
}

export interface PullSecretSourceOptions {
  readonly log: Logger;
  readonly nowMs?: () => number;
}

/**
 * Credentials in Kubernetes secrets, matched by the kubelet's rules. Whoever follows the API server fills it; until he says that he has seen all there is, nothing is known,
 * which is not the same as none. Secrets are asked in the order of namespace and name.
 */
export class PullSecretSource implements CredentialSource {
  readonly name = 'kubernetes-secrets';
  readonly #log: Logger;
  readonly #nowMs: () => number;
  readonly #secrets = new Map<string, KnownSecret>();
  readonly #listeners = new ChangeListeners();
  #keyring: Keyring | undefined; // made at the first look-up after a change
  #isSynced = false;

  constructor({ log, nowMs = () => Date.now() }: PullSecretSourceOptions) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  resolve({ host, reference }: Lookup): Promise<Answer> {
    if (!this.#isSynced) return Promise.resolve({ kind: 'not-ready', reason: `${this.name}: the first list is not complete` });
    this.#keyring ??= new Keyring(this.#entries());
    const candidates = this.#keyring.match(host, reference.repository);
    return Promise.resolve(candidates.length === 0 ? NONE : { kind: 'candidates', source: this.name, candidates });
  }

  onChange(listener: (change: SourceChange) => void): Disposable {
    return this.#listeners.add(listener);
  }

  /** A secret is new or changed. One that cannot be read keeps its last good value: an edit that goes wrong must not stop the reads of a whole cluster. */
  put({ namespace, name, type, document }: PullSecret): void {
    const key = keyOf(namespace, name);
    const auths = this.#parse(`${namespace}/${name}`, type, document);
    if (auths === undefined) return;
    const before = this.#secrets.get(key);
    this.#secrets.set(key, { namespace, name, auths, sinceMs: this.#nowMs() });
    this.#changed(before, auths);
  }

  remove(namespace: string, name: string): void {
    const key = keyOf(namespace, name);
    const before = this.#secrets.get(key);
    if (before === undefined) return;
    this.#secrets.delete(key);
    this.#changed(before, new Map());
  }

  /** All secrets there are have been put; from now on a host without an entry has none. */
  markSynced(): void {
    if (this.#isSynced) return;
    this.#isSynced = true;
    this.#listeners.tell({ source: this.name, withdrawn: [] });
  }

  #parse(secret: string, type: PullSecretType, document: string | undefined): ReadonlyMap<string, Credential> | undefined {
    if (document === undefined) {
      this.#log.warn({ pullSecret: secret, type }, 'pull secret without the member its type names');
      return undefined;
    }
    try {
      const { auths, skipped } = parsePullSecret(type, document);
      for (const { key, reason } of skipped) this.#log.warn({ pullSecret: secret, key, reason }, 'pull secret entry skipped');
      return new Map([...auths].filter(([key, credential]) => this.#isLogin(secret, key, credential)));
    } catch (cause) {
      if (!(cause instanceof SyntaxError)) throw cause;
      this.#log.warn({ pullSecret: secret, cause }, 'pull secret not usable');
      return undefined;
    }
  }

  /** A password alone is no login for the kubelet, and no token either. */
  #isLogin(secret: string, key: string, credential: Credential): boolean {
    if (credential.kind !== 'basic' || credential.username !== '') return true;
    this.#log.warn({ pullSecret: secret, key, reason: 'a password without a user name' }, 'pull secret entry skipped');
    return false;
  }

  #changed(before: KnownSecret | undefined, after: ReadonlyMap<string, Credential>): void {
    this.#keyring = undefined;
    if (!this.#isSynced) return; // nothing was given yet
    this.#listeners.tell({ source: this.name, withdrawn: withdrawnBetween(before?.auths.values() ?? [], after.values()) });
  }

  *#entries(): Iterable<KeyringEntry> {
    for (const key of [...this.#secrets.keys()].sort()) {
      const secret = this.#secrets.get(key);
      if (secret === undefined) continue;
      const entry = `secret ${secret.namespace}/${secret.name}`;
      for (const [written, credential] of secret.auths) yield { key: written, candidate: { credential, entry, sinceMs: secret.sinceMs } };
    }
  }
}

/** Sorts by namespace, then by name: neither can hold a NUL. */
function keyOf(namespace: string, name: string): string {
  return `${namespace}\0${name}`;
}
