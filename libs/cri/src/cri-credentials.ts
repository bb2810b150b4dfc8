import { parseReference, type ImageReference } from '@soci/image';
import {
  ChangeListeners,
  fingerprint,
  HUB_HOSTS,
  isHubHost,
  KeychainError,
  none,
  registryOf,
  type Answer,
  type CredentialSource,
  type Lookup,
  type SourceChange,
} from '@soci/keychain';
import { isForItsRegistry, orderCandidates } from './candidates.ts';
import { HeldSecrets, wipe } from './held-secrets.ts';
import type { KeptPulls } from './kept-pulls.ts';
import type { Login } from './login.ts';
import { monotonicMs } from './monotonic-ms.ts';
import { keyOf, PulledEntries, type PulledEntry } from './pulled-entries.ts';

export interface CriCredentialsOptions {
  /** `namespace`: only what pods of the asking namespaces pulled with; `node` (the default): what any pod did. */
  readonly isolation?: 'node' | 'namespace';
  /** Whether something that is mounted was pulled under this name, in the form of `ImageReference.canonical()`: its entries outlive the image and the age limit. */
  readonly isInUse?: (reference: string) => boolean;
  readonly maxEntries?: number;
  /** Since the last pull, or the last time it was given out. */
  readonly maxAgeMs?: number;
  /** For ages: goes on over a crash, and no change of the date moves it. */
  readonly nowMs?: () => number;
  /** The date, as `Date.now()`: for people. */
  readonly wallMs?: () => number;
  /** Has what outlives a crash of this process. Its owner says when it is wiped; disposing of the credentials does not. */
  readonly kept?: KeptPulls | undefined;
}

/** A PullImage on its way. */
export interface PullUnderWay {
  /** @param imageId as containerd answered it; empty when it is not known */
  succeeded(imageId: string): void;
  failed(): void;
}

const DEFAULT_MAX_ENTRIES = 10_000;
const MAX_HELD_BYTES = 32 << 20;
const DEFAULT_MAX_AGE_MS = 7 * 24 * 60 * 60 * 1000;
const SWEEP_INTERVAL_MS = 10 * 60 * 1000;
/** Twice the five minutes that the kubelet waits at most before it pulls again. */
const INTERRUPTED_MS = 10 * 60 * 1000;
/** Proven logins of one namespace for one image: a pod may have another one than the pod before it. */
const MAX_PER_IMAGE_AND_NAMESPACE = 3;
const NOTHING: PullUnderWay = { succeeded: () => undefined, failed: () => undefined };

/**
 * Credentials that pulls through the image service brought, in memory alone: gone with a stop, there again after a crash where `kept` is given. A login counts while its pull runs (containerd asks for the snapshots meanwhile) and
 * stays when that succeeded; a pull that failed, or had no login, changes nothing for the others.
 */
export class CriCredentials implements CredentialSource, Disposable {
  readonly name = 'cri';
  readonly #options: Required<Omit<CriCredentialsOptions, 'kept'>>;
  readonly #kept: KeptPulls | undefined;
  readonly #entries: PulledEntries;
  readonly #secrets = new HeldSecrets();
  readonly #listeners = new ChangeListeners();
  readonly #sweeper: NodeJS.Timeout;
  readonly #startedMs: number;
  #lastRank = 0;

  constructor({ kept, ...options }: CriCredentialsOptions = {}) {
    this.#options = {
      isolation: 'node',
      isInUse: () => false,
      maxEntries: DEFAULT_MAX_ENTRIES,
      maxAgeMs: DEFAULT_MAX_AGE_MS,
      nowMs: monotonicMs,
      wallMs: () => Date.now(),
      ...options,
    };
    this.#startedMs = this.#options.nowMs();
    this.#kept = kept;
    this.#entries = new PulledEntries(kept);
    for (const entry of kept?.takeLeft() ?? []) this.#restore(entry);
    this.#makeRoom();
    this.#sweeper = setInterval(() => this.sweep(), SWEEP_INTERVAL_MS).unref();
  }

  /** How many logins are kept, those of anonymous pulls included. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * A PullImage is about to be passed on. What does not parse as a reference is containerd's to refuse and is not recorded.
   * @param image as the client wrote it
   * @param namespace of the pod, empty for a pull without one
   * @param login belongs to this object from now on
   */
  pullStarted(image: string, namespace: string, login: Login): PullUnderWay {
    const reference = referenceOf(image);
    if (reference === undefined) {
      if (login.kind === 'credential') wipe(login.credential);
      return NOTHING;
    }
    const entry = this.#entryOf(reference, namespace, login);
    this.#makeRoom(entry);
    let isOver = false;
    const once = (settle: () => void): void => {
      if (isOver) return;
      isOver = true;
      entry.running--;
      if (this.#entries.get(entry.key) === entry) settle(); // it may have been pushed out, or removed
    };
    return {
      succeeded: (imageId) => once(() => this.#succeeded(entry, imageId)),
      failed: () => once(() => entry.rank === 0 && entry.running === 0 && this.#drop([entry])),
    };
  }

  /** RemoveImage went through. @param image a name, an id, or the beginning of an id, as containerd takes them */
  imageRemoved(image: string): void {
    for (const entry of this.#removedEntries(image)) if (entry.running === 0) this.#entries.orphan(entry);
    this.#dropOrphans();
  }

  /** Namespaces of the pods whose pull of the image runs or succeeded, or only those where it succeeded, sorted; the empty one stands for pulls without a pod. */
  namespacesOf(reference: ImageReference, pulls: 'running-or-succeeded' | 'succeeded' = 'running-or-succeeded'): readonly string[] {
    const counted = this.#entries.ofReference(reference.canonical()).filter(({ rank }) => rank > 0 || pulls === 'running-or-succeeded');
    return [...new Set(counted.map(({ namespace }) => namespace))].sort();
  }

  /** @throws {KeychainError} `CONFIG_INVALID` when all that the image's pulls brought cannot be decoded */
  resolve(lookup: Lookup): Promise<Answer> {
    return Promise.try(() => this.#find(lookup));
  }

  onChange(listener: (change: SourceChange) => void): Disposable {
    return this.#listeners.add(listener);
  }

  /** Drops what is too old, and what was kept for a mount that is gone. Happens by itself as well. */
  sweep(): void {
    this.#dropOrphans();
    this.#dropInterrupted();
    this.#dropOld();
  }

  /** Overwrites every secret of this process; nothing is given any more. What is kept for the next process stays. */
  [Symbol.dispose](): void {
    clearInterval(this.#sweeper);
    this.#kept?.detach();
    this.#drop([...this.#entries.values()]);
    this.#secrets.wipeAll();
    this.#listeners.clear();
  }

  #find({ host, reference, namespaces }: Lookup): Answer {
    if (registryOf(host) !== registryOf(reference.host)) return none('this host is not the registry of the image');
    this.#dropOld();
    const isVisible = ({ namespace }: PulledEntry): boolean => this.#options.isolation === 'node' || namespaces.includes(namespace);
    const pulls = this.#entries.ofReference(reference.canonical()).filter(isVisible);
    if (pulls.length === 0) return none('no pull of the image came through the image service');
    const own = pulls.filter(isForItsRegistry);
    const [login] = own.map((entry) => entry.login);
    if (login === undefined) return none('no pull of the image brought credentials for its registry');
    if (login.kind === 'broken' && own.every((entry) => entry.login.kind === 'broken'))
      throw new KeychainError('CONFIG_INVALID', `${this.name}: pull of ${reference.canonical()}: ${login.reason}`);
    for (const entry of own) this.#entries.touch(entry, this.#options.nowMs());
    const candidates = orderCandidates(own, this.#entries.ofHost(registryOf(host)), isVisible);
    return { kind: 'candidates', source: this.name, candidates };
  }

  #restore(entry: PulledEntry): void {
    this.#secrets.hold(entry.login, entry.fingerprint); // entries that share one share the object
    this.#entries.restore(entry);
    this.#lastRank = Math.max(this.#lastRank, entry.rank);
  }

  /** The entry of a pull that starts. */
  #entryOf(reference: ImageReference, namespace: string, login: Login): PulledEntry {
    const canonical = reference.canonical();
    const print = login.kind === 'credential' ? fingerprint(login.credential) : '';
    const key = keyOf(canonical, namespace, login, print);
    const known = this.#entries.get(key);
    const nowMs = this.#options.nowMs();
    if (known !== undefined) {
      this.#secrets.spare(login, print);
      this.#entries.pull(known, nowMs);
      return known;
    }
    const entry: PulledEntry = {
      key,
      reference: canonical,
      host: registryOf(reference.host),
      namespace,
      login: this.#secrets.hold(login, print),
      fingerprint: print,
      running: 1,
      rank: 0,
      sinceMs: this.#options.wallMs(),
      usedMs: nowMs,
      imageId: '',
      isOrphan: false,
    };
    this.#entries.add(entry);
    this.#tell(entry);
    return entry;
  }

  #succeeded(entry: PulledEntry, imageId: string): void {
    const isNews = entry.rank === 0;
    const isNewNamespace = !this.#entries
      .ofReference(entry.reference)
      .some(({ namespace, rank }) => rank > 0 && namespace === entry.namespace);
    const { nowMs, wallMs } = this.#options;
    this.#entries.succeed(entry, { rank: ++this.#lastRank, nowMs: nowMs(), wallMs: wallMs(), imageId });
    const proven = this.#entries
      .ofReference(entry.reference)
      .filter(({ namespace, rank, login }) => namespace === entry.namespace && rank > 0 && login.kind !== 'none')
      .sort((a, b) => b.rank - a.rank);
    this.#drop(proven.slice(MAX_PER_IMAGE_AND_NAMESPACE).filter(({ running }) => running === 0));
    if (isNews) this.#tell(entry, isNewNamespace);
  }

  /** A reader that waits may go on: of this image at once, of others of the registry when the pull has succeeded. So may one that a namespace more may read now. */
  #tell({ login, host }: PulledEntry, isNewNamespace = false): void {
    if (login.kind === 'credential' || isNewNamespace) this.#listeners.tell({ source: this.name, hosts: hostsOf(host), withdrawn: [] });
  }

  #makeRoom(newest?: PulledEntry): void {
    for (const entry of this.#entries.values()) {
      if (this.#entries.size <= this.#options.maxEntries && this.#secrets.sizeBytes <= MAX_HELD_BYTES) return;
      if (entry !== newest && entry.running === 0) this.#drop([entry]);
    }
  }

  #dropOld(): void {
    const { maxAgeMs, nowMs, isInUse } = this.#options;
    const now = nowMs();
    for (const entry of this.#entries.values()) {
      if (entry.usedMs > now - maxAgeMs) return; // in the order of use
      if (entry.running > 0 || isInUse(entry.reference)) this.#entries.touch(entry, now);
      else this.#drop([entry]);
    }
  }

  /**
   * How the pull of a login ended that ran when the process before was killed, nobody knows: its connections broke with the process. It may be over and the image
   * be here, and then the kubelet asks for no other pull before it starts a container. So it counts as one that still runs, after those that are known to
   * work; the kubelet's next pull decides. When none came in twice the time of its longest pause, it goes, but not while
   * something that was pulled under that name is mounted.
   */
  #dropInterrupted(): void {
    const { nowMs, isInUse } = this.#options;
    if (nowMs() - this.#startedMs < INTERRUPTED_MS) return;
    for (const entry of this.#entries.values()) {
      if (entry.rank === 0 && entry.running === 0 && !isInUse(entry.reference)) this.#drop([entry]);
    }
  }

  #dropOrphans(): void {
    for (const entry of this.#entries.orphans()) if (!this.#options.isInUse(entry.reference)) this.#drop([entry]);
  }

  #removedEntries(image: string): readonly PulledEntry[] {
    const reference = referenceOf(image)?.canonical();
    const named = reference === undefined ? [] : this.#entries.ofReference(reference);
    // containerd takes the other names of the same image away with this one.
    if (named.length > 0) return [...new Set([...named, ...named.flatMap(({ imageId }) => this.#entries.ofImageId(imageId))])];
    const id = image.includes(':') ? image : `sha256:${image}`;
    if (!/^sha256:[0-9a-f]+$/.test(id)) return [];
    const whole = this.#entries.ofImageId(id);
    if (whole.length > 0) return whole;
    const [match, ...more] = [...this.#entries.imageIds()].filter((known) => known.startsWith(id));
    return match === undefined || more.length > 0 ? [] : this.#entries.ofImageId(match);
  }

  #drop(entries: readonly PulledEntry[]): void {
    for (const entry of entries) {
      this.#entries.delete(entry);
      const wipeIt = this.#secrets.release(entry.fingerprint);
      if (wipeIt === undefined) continue;
      this.#listeners.tell({ source: this.name, hosts: hostsOf(entry.host), withdrawn: [entry.fingerprint] });
      wipeIt();
    }
  }
}

function hostsOf(registry: string): readonly string[] {
  return isHubHost(registry) ? HUB_HOSTS : [registry];
}

function referenceOf(image: string): ImageReference | undefined {
  try {
    return parseReference(image);
  } catch {
    return undefined;
  }
}
