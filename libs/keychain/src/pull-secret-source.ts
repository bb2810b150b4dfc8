import type { Logger } from '@soci/log';
import { ChangeListeners, withdrawnBetween } from './change-listeners.ts';
import type { Credential } from './credential.ts';
import type { PullSecretType } from './docker-config-file.ts';
import type { KeychainError } from './errors.ts';
import { Keyring, type KeyringEntry } from './keyring.ts';
import { changeBetween, joined, type EntriesChange } from './entries-change.ts';
import { haveSameLogins, readPullSecret, type PullSecret } from './pull-secret.ts';
import { firstDistinct, none, type Answer, type CredentialSource, type Lookup, type SourceChange } from './source.ts';

/** Whose secrets a look-up may use: those of the whole node, or those of the namespaces that pulled the image, where these are known. */
export type Isolation = 'node' | 'namespace';

export interface PullSecretSourceOptions {
  readonly log: Logger;
  readonly isolation?: Isolation;
  /** How long the first list may take before the source stands aside; 60 s by default. */
  readonly firstSyncTimeoutMs?: number;
  /** The wall clock, for the age of entries. */
  readonly nowMs?: () => number;
  /** Goes on evenly whatever becomes of the wall clock, which a node sets while it boots. */
  readonly monotonicMs?: () => number;
}

/** What a list of the API server covers. */
export interface ListScope {
  readonly type: PullSecretType;
  /** Left out: all namespaces. */
  readonly namespace?: string;
}

/** A list that is being read: put what it returns, then commit. Without a commit (it failed half way) nothing is removed. */
export interface SecretList extends Disposable {
  /** Takes effect at once. */
  put(secret: PullSecret): void;
  /** The list is complete: secrets in its scope that it did not return are gone. */
  commit(): void;
}

const PULL_SECRET_TYPES: readonly PullSecretType[] = ['kubernetes.io/dockerconfigjson', 'kubernetes.io/dockercfg'];
const DEFAULT_FIRST_SYNC_TIMEOUT_MS = 60_000;
/**
 * Credentials in Kubernetes secrets, matched by the kubelet's rules. Whoever follows the API server fills it; until he says that he has seen all there is, nothing is known,
 * which is not the same as none. When that takes too long it goes by what it has, and otherwise answers none, and why. Secrets are asked in the order of namespace and name.
 */
export class PullSecretSource implements CredentialSource {
  readonly name = 'kubernetes-secrets';
  readonly #log: Logger;
  readonly #isolation: Isolation;
  readonly #firstSyncTimeoutMs: number;
  readonly #nowMs: () => number;
  readonly #monotonicMs: () => number;
  readonly #keyring = new Keyring();
  /** By owner: a secret is told apart by its type, too, since one made again with the other type comes by another watch, which may run ahead. */
  readonly #scopes = new Map<string, ListScope & { readonly namespace: string }>();
  readonly #listeners = new ChangeListeners();
  #isSynced = false;
  #waitingSinceMs: number;
  #saysStandingAside = false;
  #problem: string | undefined;
  #off: string | undefined;
  #failure: KeychainError | undefined;
  #openLists = 0;
  /** What has changed while lists are being read; undefined when nothing has. */
  #collected: EntriesChange | undefined;

  constructor({
    log,
    isolation = 'node',
    firstSyncTimeoutMs = DEFAULT_FIRST_SYNC_TIMEOUT_MS,
    nowMs = () => Date.now(),
    monotonicMs = () => performance.now(),
  }: PullSecretSourceOptions) {
    this.#log = log;
    this.#isolation = isolation;
    this.#firstSyncTimeoutMs = firstSyncTimeoutMs;
    this.#nowMs = nowMs;
    this.#monotonicMs = monotonicMs;
    this.#waitingSinceMs = monotonicMs();
  }

  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** How many secrets it knows. */
  get size(): number {
    return this.#scopes.size;
  }

  resolve({ host, reference, namespaces }: Lookup): Promise<Answer> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#off !== undefined) return Promise.resolve(none(this.#off));
    const unsynced = this.#unsynced();
    if (unsynced?.kind === 'not-ready') return Promise.resolve(unsynced);
    const found = this.#match(host, reference.repository, namespaces);
    return Promise.resolve(found.kind === 'none' ? (unsynced ?? found) : found);
  }

  onChange(listener: (change: SourceChange) => void): Disposable {
    return this.#listeners.add(listener);
  }

  /** A secret is new or changed. One that cannot be read keeps its last good value: an edit that goes wrong must not stop the reads of a whole cluster. */
  put(secret: PullSecret): void {
    const entries = readPullSecret(secret, this.#nowMs(), this.#log);
    if (entries === undefined) return;
    const { namespace, name, type } = secret;
    const owner = ownerOf(namespace, name, type);
    this.#scopes.set(owner, { namespace, type });
    this.#replace(owner, entries);
  }

  /** @param type of the secret that went; left out: of whichever type it is */
  remove(namespace: string, name: string, type?: PullSecretType): void {
    for (const known of type === undefined ? PULL_SECRET_TYPES : [type]) this.#remove(ownerOf(namespace, name, known));
  }

  /** Begins a list, the first or one after a watch has lost its place. What it changes is told as one change. */
  beginList(scope: ListScope): SecretList {
    const seen = new Set<string>();
    this.#openLists++;
    let isOpen = true;
    const end = (): void => {
      if (!isOpen) return;
      isOpen = false;
      if (--this.#openLists === 0) this.#tellCollected();
    };
    return {
      put: (secret) => {
        seen.add(ownerOf(secret.namespace, secret.name, secret.type));
        this.put(secret);
      },
      commit: () => {
        if (isOpen) this.#removeUnseen(scope, seen);
        end();
      },
      [Symbol.dispose]: end,
    };
  }

  /** All secrets there are have been put; from now on a host without an entry has none. */
  markSynced(): void {
    if (this.#isSynced) return;
    this.#isSynced = true;
    this.#problem = undefined;
    this.#tell([]);
  }

  /** Why the first list is not complete, for people; undefined when that is over. */
  reportProblem(reason: string | undefined): void {
    this.#problem = reason;
  }

  /** There is nothing to follow, and why; undefined when there is again. */
  setOff(reason: string | undefined): void {
    if (reason === this.#off) return;
    this.#off = reason;
    this.#startWaiting();
    this.#tell([]);
  }

  /** Look-ups fail with this error, whatever is known, until it is taken back. */
  setFailed(error: KeychainError | undefined): void {
    if (error === this.#failure) return;
    this.#failure = error;
    this.#tell([]);
  }

  /** Forgets all secrets: another cluster, or another user of it, is followed from now on. */
  reset(): void {
    const wasSynced = this.#isSynced;
    const before: KeyringEntry[] = [];
    for (const owner of this.#scopes.keys()) {
      before.push(...this.#keyring.entriesOf(owner));
      this.#keyring.set(owner, []);
    }
    this.#scopes.clear();
    this.#isSynced = false;
    this.#problem = undefined;
    this.#startWaiting();
    if (wasSynced) this.#tell(withdrawnBetween(before.map(credentialOf), []));
  }

  #startWaiting(): void {
    this.#waitingSinceMs = this.#monotonicMs();
    this.#saysStandingAside = false;
  }

  /** The answer for a host without an entry while the first list is not complete. After a while what is known is used: a namespace may be forbidden that nobody needs. */
  #unsynced(): Answer | undefined {
    if (this.#isSynced) return undefined;
    const why = this.#problem === undefined ? '' : `: ${this.#problem}`;
    const waitedMs = this.#monotonicMs() - this.#waitingSinceMs;
    if (waitedMs < this.#firstSyncTimeoutMs) return { kind: 'not-ready', reason: `${this.name}: the first list is not complete${why}` };
    if (!this.#saysStandingAside)
      this.#log.warn({ waitedMs, problem: this.#problem }, 'pull secrets not synced in time, images are pulled without them');
    this.#saysStandingAside = true;
    return none(`no complete list within ${Math.round(this.#firstSyncTimeoutMs / 1000)} s${why}`);
  }

  #match(host: string, repository: string, namespaces: readonly string[]): Answer {
    const allowed = this.#isolation === 'node' || namespaces.length === 0 ? undefined : new Set(namespaces);
    const isAllowed = (owner: string): boolean => allowed === undefined || allowed.has(this.#scopes.get(owner)?.namespace ?? '');
    const candidates = firstDistinct(this.#keyring.match(host, repository, isAllowed));
    if (candidates.length > 0) return { kind: 'candidates', source: this.name, candidates };
    const where = allowed === undefined ? `${this.size} secrets` : `secrets of ${[...allowed].sort().join(', ') || 'no namespace'}`;
    return none(`no entry for ${host}/${repository} in ${where}`);
  }

  /** What is as it was stays, with its age: a list returns everything again. */
  #replace(owner: string, entries: readonly KeyringEntry[]): void {
    const before = this.#keyring.entriesOf(owner);
    if (haveSameLogins(before, entries)) return;
    this.#keyring.set(owner, entries);
    if (this.#isSynced) this.#changed(changeBetween(before, entries));
  }

  #removeUnseen({ type, namespace }: ListScope, seen: ReadonlySet<string>): void {
    for (const [owner, known] of this.#scopes)
      if (known.type === type && !seen.has(owner) && (namespace === undefined || known.namespace === namespace)) this.#remove(owner);
  }

  #remove(owner: string): void {
    if (this.#scopes.delete(owner)) this.#replace(owner, []);
  }

  /** Told at once, or with all the others that open lists bring. */
  #changed(change: EntriesChange): void {
    if (this.#openLists === 0) this.#tell(change.withdrawn, change.hosts);
    else this.#collected = this.#collected === undefined ? change : joined(this.#collected, change);
  }

  #tellCollected(): void {
    const change = this.#collected;
    this.#collected = undefined;
    if (change !== undefined) this.#tell(change.withdrawn, change.hosts);
  }

  /** @param hosts left out: any */
  #tell(withdrawn: readonly string[], hosts?: readonly string[]): void {
    this.#listeners.tell({ source: this.name, withdrawn, ...(hosts === undefined ? {} : { hosts }) });
  }
}

function credentialOf({ candidate }: KeyringEntry): Credential {
  return candidate.credential;
}

/** Sorts by namespace, then by name: none of the parts can hold a NUL. */
function ownerOf(namespace: string, name: string, type: PullSecretType): string {
  return `${namespace}\0${name}\0${type}`;
}
