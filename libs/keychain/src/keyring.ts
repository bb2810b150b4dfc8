import { isHubHost } from './hub.ts';
import { matchesLabel } from './label-pattern.ts';
import type { Candidate } from './source.ts';

/** A key of a secret's `auths`, and what is kept under it. */
export interface KeyringEntry {
  /** As written: `https://registry.example.com/v1/`, `*.example.com:5000/team`. */
  readonly key: string;
  readonly candidate: Candidate;
}

interface Pattern {
  /** Host and path, without scheme and API version: what entries are ordered by. */
  readonly text: string;
  readonly labels: readonly string[];
  readonly port: string;
  /** Empty, or with a slash before it. */
  readonly path: string;
  readonly candidate: Candidate;
}

/** Longer than any host with any repository name: such a key can match nothing. */
const MAX_KEY_LENGTH = 2_048;
const HUB_FALLBACK = 'index.docker.io';

/**
 * Credentials by the kubelet's rules: keys in reverse byte order of host and path, so that a longer path comes before its prefix; as many labels of the host as the key has,
 * each a shell-style pattern; the port equal as text; the path a plain prefix, not cut at segments. Every match counts, in that order; those of one key in the order they were given.
 *
 * @see https://github.com/kubernetes/kubernetes/blob/master/pkg/credentialprovider/keyring.go
 */
export class Keyring {
  readonly #patterns: readonly Pattern[];

  constructor(entries: Iterable<KeyringEntry>) {
    const patterns: Pattern[] = [];
    for (const { key, candidate } of entries) if (key.length <= MAX_KEY_LENGTH) patterns.push(parseKey(key, candidate));
    this.#patterns = patterns.sort((a, b) => Buffer.compare(Buffer.from(b.text), Buffer.from(a.text))); // a stable sort
  }

  /**
   * @param host registry authority with its port, if any; any name of Docker Hub
   * @param repository without tag and digest
   * @returns all that match, best first. For Docker Hub, where nothing does, what is kept under `index.docker.io`
   */
  match(host: string, repository: string): readonly Candidate[] {
    const hub = isHubHost(host);
    const wanted = splitAuthority(hub ? 'docker.io' : host);
    const path = `/${repository}`;
    const found = this.#patterns.filter(
      (pattern) =>
        pattern.port === wanted.port &&
        pattern.labels.length === wanted.labels.length &&
        path.startsWith(pattern.path) &&
        pattern.labels.every((label, i) => matchesLabel(label, wanted.labels[i] ?? '')),
    );
    const all = found.length === 0 && hub ? this.#patterns.filter(({ text }) => text === HUB_FALLBACK) : found;
    return all.map(({ candidate }) => candidate);
  }
}

function parseKey(key: string, candidate: Candidate): Pattern {
  const bare = key.replace(/^https?:\/\//, '');
  const slash = bare.indexOf('/');
  const authority = slash < 0 ? bare : bare.slice(0, slash);
  const written = slash < 0 ? '' : bare.slice(slash);
  const versionless = /^\/v[12]\//.test(written) ? written.slice('/v1'.length) : written;
  const path = versionless === '/' ? '' : versionless;
  return { text: authority + path, ...splitAuthority(authority), path, candidate };
}

/** `host:port` or `[address]:port`; without a port the brackets stay, and so does whatever has more than one colon. */
function splitAuthority(authority: string): { readonly labels: readonly string[]; readonly port: string } {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):([^:]*)$/.exec(authority);
  const host = match?.[1] ?? match?.[2] ?? authority;
  return { labels: host.split('.'), port: match?.[3] ?? '' };
}
