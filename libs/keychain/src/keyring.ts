import { isHubHost } from './hub.ts';
import { isHostPattern, matchesHost, parseImagePattern, patternTarget, type PatternTarget } from './image-pattern.ts';
import type { Candidate } from './source.ts';

/** A key of a secret's `auths`, and what is kept under it. */
export interface KeyringEntry {
  /** As written: `https://registry.example.com/v1/`, `*.example.com:5000/team`. */
  readonly key: string;
  readonly candidate: Candidate;
}

interface Kept {
  readonly owner: string;
  readonly text: string;
  readonly path: string;
  readonly candidate: Candidate;
}

/** What is kept for one host and port, in the order in which it is tried. */
interface Bucket {
  readonly labels: readonly string[];
  readonly kept: Kept[];
}

const HUB_FALLBACK = 'index.docker.io';

/**
 * Credentials by the kubelet's rules: keys in reverse byte order of host and path, so that a longer path comes before its prefix; as many labels of the host as the key has,
 * each a shell-style pattern; the port equal as text; the path a plain prefix, not cut at segments. Every match counts, in that order; those of one key by their owner's name,
 * those of one owner in the order they were given.
 *
 * Hosts that are no patterns are found by name, so that a look-up among ten thousand takes no longer than one among ten; a change touches what changed.
 *
 * @see https://github.com/kubernetes/kubernetes/blob/master/pkg/credentialprovider/keyring.go
 */
export class Keyring {
  readonly #byHost = new Map<string, Bucket>();
  /** Of hosts that are patterns: by number of labels, port and the first label that is none, then by host. */
  readonly #patterns = new Map<string, Map<string, Bucket>>();
  readonly #keysOf = new Map<string, readonly KeyringEntry[]>();

  constructor(entries: Iterable<KeyringEntry> = []) {
    this.set('', entries);
  }

  /** Replaces all that an owner has. */
  set(owner: string, entries: Iterable<KeyringEntry>): void {
    for (const { key } of this.#keysOf.get(owner) ?? []) this.#remove(owner, key);
    const given = [...entries];
    for (const { key, candidate } of given) this.#add(owner, key, candidate);
    if (given.length === 0) this.#keysOf.delete(owner);
    else this.#keysOf.set(owner, given);
  }

  /** What an owner has, in the order it was given. */
  entriesOf(owner: string): readonly KeyringEntry[] {
    return this.#keysOf.get(owner) ?? [];
  }

  /**
   * All that match, best first, found as they are asked for. For Docker Hub, where nothing does, what is kept under `index.docker.io`.
   *
   * @param host registry authority with its port, if any; any name of Docker Hub
   * @param repository without tag and digest
   * @param isAllowed whose credentials count; everybody's by default
   */
  *match(host: string, repository: string, isAllowed: (owner: string) => boolean = () => true): Generator<Candidate, void, undefined> {
    const target = patternTarget(host, repository);
    let isFound = false;
    for (const { path, owner, candidate } of inOrder(this.#bucketsFor(target))) {
      if (!target.path.startsWith(path) || !isAllowed(owner)) continue;
      isFound = true;
      yield candidate;
    }
    if (isFound || !isHubHost(host)) return;
    for (const { text, owner, candidate } of this.#byHost.get(hostKey(HUB_FALLBACK, ''))?.kept ?? [])
      if (text === HUB_FALLBACK && isAllowed(owner)) yield candidate;
  }

  #bucketsFor(target: PatternTarget): readonly Bucket[] {
    const exact = this.#byHost.get(hostKey(target.host, target.port));
    const buckets = exact === undefined ? [] : [exact];
    for (const key of patternKeys(target))
      for (const bucket of this.#patterns.get(key)?.values() ?? []) if (matchesHost(bucket.labels, target.labels)) buckets.push(bucket);
    return buckets;
  }

  #add(owner: string, key: string, candidate: Candidate): void {
    const pattern = parseImagePattern(key);
    if (pattern === undefined) return;
    const { text, path, host, port } = pattern;
    const { kept } = this.#bucket(host, port);
    kept.splice(placeOf(kept, text, owner, 'after'), 0, { owner, text, path, candidate });
  }

  #remove(owner: string, key: string): void {
    const pattern = parseImagePattern(key);
    if (pattern === undefined) return;
    const { text, host, port } = pattern;
    const { kept } = this.#bucket(host, port);
    const begin = placeOf(kept, text, owner, 'before');
    kept.splice(begin, placeOf(kept, text, owner, 'after') - begin);
    if (kept.length === 0) this.#drop(host, port);
  }

  #bucket(host: string, port: string): Bucket {
    const labels = host.split('.');
    const buckets = isHostPattern(host)
      ? getOrMake(this.#patterns, patternKey(labels, port), () => new Map<string, Bucket>())
      : this.#byHost;
    return getOrMake(buckets, hostKey(host, port), () => ({ labels, kept: [] }));
  }

  #drop(host: string, port: string): void {
    if (!isHostPattern(host)) {
      this.#byHost.delete(hostKey(host, port));
      return;
    }
    const group = patternKey(host.split('.'), port);
    const buckets = this.#patterns.get(group);
    buckets?.delete(hostKey(host, port));
    if (buckets?.size === 0) this.#patterns.delete(group);
  }
}

/** What several buckets keep, as if it were in one. */
function* inOrder(buckets: readonly Bucket[]): Generator<Kept, void, undefined> {
  const places = buckets.map(() => 0);
  for (;;) {
    let best: { readonly next: Kept; readonly bucket: number } | undefined;
    for (const [bucket, { kept }] of buckets.entries()) {
      const next = kept[places[bucket] ?? 0];
      if (next !== undefined && (best === undefined || compareTexts(next.text, best.next.text) > 0)) best = { next, bucket };
    }
    if (best === undefined) return;
    places[best.bucket] = (places[best.bucket] ?? 0) + 1;
    yield best.next;
  }
}

function hostKey(host: string, port: string): string {
  return port === '' ? host : `${host}\0${port}`;
}

function patternKey(labels: readonly string[], port: string): string {
  const place = labels.findIndex((label) => !isHostPattern(label));
  return [labels.length, port, place, labels[place] ?? ''].join('\0');
}

/** The keys of all patterns that may match. */
function patternKeys({ labels, port }: PatternTarget): readonly string[] {
  const byLabel = labels.map((label, place) => [labels.length, port, place, label].join('\0'));
  return [...byLabel, [labels.length, port, -1, ''].join('\0')];
}

function getOrMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

/** Where what has this key and owner begins, or ends: a binary search. */
function placeOf(kept: readonly Kept[], text: string, owner: string, side: 'before' | 'after'): number {
  let low = 0;
  let high = kept.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const order = compareTexts(text, kept[middle]?.text ?? '') || compareTexts(kept[middle]?.owner ?? '', owner);
    if (order < 0 || (order === 0 && side === 'after')) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The order of bytes, which for all that a registry can be called is the order of code units. */
function compareTexts(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
