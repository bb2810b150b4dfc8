import type { KeptPulls } from './kept-pulls.ts';
import type { Login } from './login.ts';

/** What one namespace showed a registry, in a pull of one image that runs or succeeded. */
export interface PulledEntry {
  readonly key: string;
  /** In the form under which containerd keeps the image. */
  readonly reference: string;
  readonly host: string;
  readonly namespace: string;
  readonly login: Login;
  /** Of the login's credential; empty when there is none. */
  readonly fingerprint: string;
  /** Pulls of it that run now. */
  running: number;
  /** Position among all successes, the latest is the highest; 0 while none has succeeded. */
  rank: number;
  /** When the last pull succeeded, or started while none has; milliseconds of the wall clock. */
  sinceMs: number;
  /** When it was last pulled or given out; milliseconds of a clock that nobody sets. */
  usedMs: number;
  /** As containerd answered it, `sha256:...`; empty while it is not known. */
  imageId: string;
  /** Its image was removed while something mounted still reads it. */
  isOrphan: boolean;
}

/** Tells entries apart: one for each image, namespace and login. */
export function keyOf(reference: string, namespace: string, login: Login, fingerprint: string): string {
  const reason = login.kind === 'broken' ? login.reason : '';
  const server = login.kind === 'none' ? '' : (login.serverHost ?? '*');
  return [reference, namespace, login.kind, fingerprint || reason, server].join('\0');
}

interface Success {
  readonly rank: number;
  readonly nowMs: number;
  readonly wallMs: number;
  /** Empty when it is not known: then the one before stays. */
  readonly imageId: string;
}

/** Entries in the order of their last use, and by what they are asked for. Whatever changes of them is written to what outlives the process. */
export class PulledEntries {
  readonly #kept: KeptPulls | undefined;
  readonly #entries = new Map<string, PulledEntry>();
  // Few share a name or an id, and a set takes several times the memory of a list of one.
  readonly #byReference = new Map<string, PulledEntry[]>();
  readonly #byImageId = new Map<string, PulledEntry[]>();
  readonly #byHost = new Map<string, Set<PulledEntry>>();
  readonly #orphans = new Set<PulledEntry>();

  constructor(kept?: KeptPulls) {
    this.#kept = kept;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): PulledEntry | undefined {
    return this.#entries.get(key);
  }

  add(entry: PulledEntry): void {
    this.restore(entry);
    this.#kept?.add(entry);
  }

  /** Adds an entry that is written already. */
  restore(entry: PulledEntry): void {
    this.#entries.set(entry.key, entry);
    addTo(this.#byReference, entry.reference, entry);
    if (entry.imageId !== '') addTo(this.#byImageId, entry.imageId, entry);
    if (entry.isOrphan) this.#orphans.add(entry);
    const sameHost = this.#byHost.get(entry.host);
    if (sameHost === undefined) this.#byHost.set(entry.host, new Set([entry]));
    else sameHost.add(entry);
  }

  delete(entry: PulledEntry): void {
    this.#entries.delete(entry.key);
    deleteFrom(this.#byReference, entry.reference, entry);
    deleteFrom(this.#byImageId, entry.imageId, entry);
    this.#orphans.delete(entry);
    const sameHost = this.#byHost.get(entry.host);
    sameHost?.delete(entry);
    if (sameHost?.size === 0) this.#byHost.delete(entry.host);
    this.#kept?.delete(entry);
  }

  touch(entry: PulledEntry, nowMs: number): void {
    this.#use(entry, nowMs);
    this.#kept?.update(entry);
  }

  /** A pull of it starts. */
  pull(entry: PulledEntry, nowMs: number): void {
    entry.running++;
    this.#setOrphan(entry, false);
    this.touch(entry, nowMs);
  }

  succeed(entry: PulledEntry, { rank, nowMs, wallMs, imageId }: Success): void {
    entry.rank = rank;
    entry.sinceMs = wallMs;
    this.#use(entry, nowMs);
    this.#setOrphan(entry, false);
    if (imageId === '' || imageId === entry.imageId) {
      this.#kept?.update(entry);
      return;
    }
    deleteFrom(this.#byImageId, entry.imageId, entry);
    entry.imageId = imageId;
    addTo(this.#byImageId, imageId, entry);
    this.#kept?.replace(entry);
  }

  /** Its image is gone. */
  orphan(entry: PulledEntry): void {
    this.#setOrphan(entry, true);
    this.#kept?.update(entry);
  }

  orphans(): Iterable<PulledEntry> {
    return this.#orphans;
  }

  /** Longest unused first. */
  values(): IterableIterator<PulledEntry> {
    return this.#entries.values();
  }

  ofReference(reference: string): readonly PulledEntry[] {
    return [...(this.#byReference.get(reference) ?? [])];
  }

  ofHost(host: string): Iterable<PulledEntry> {
    return this.#byHost.get(host) ?? [];
  }

  ofImageId(id: string): readonly PulledEntry[] {
    return [...(this.#byImageId.get(id) ?? [])];
  }

  imageIds(): IterableIterator<string> {
    return this.#byImageId.keys();
  }

  #use(entry: PulledEntry, nowMs: number): void {
    entry.usedMs = nowMs;
    this.#entries.delete(entry.key);
    this.#entries.set(entry.key, entry);
  }

  #setOrphan(entry: PulledEntry, isOrphan: boolean): void {
    entry.isOrphan = isOrphan;
    if (isOrphan) this.#orphans.add(entry);
    else this.#orphans.delete(entry);
  }
}

function addTo(index: Map<string, PulledEntry[]>, key: string, entry: PulledEntry): void {
  const entries = index.get(key);
  if (entries === undefined) index.set(key, [entry]);
  else entries.push(entry);
}

function deleteFrom(index: Map<string, PulledEntry[]>, key: string, entry: PulledEntry): void {
  const entries = index.get(key) ?? [];
  const at = entries.indexOf(entry);
  if (at >= 0) entries.splice(at, 1);
  if (entries.length === 0) index.delete(key);
}
