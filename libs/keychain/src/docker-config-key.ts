import { isIPv6 } from 'node:net';
import { HUB_HOSTS, HUB_KEY, isHubHost } from './hub.ts';

/** The key under which docker/cli keeps a registry: the host itself, or Hub's one URL. Helpers are asked for it. */
export function configKey(host: string): string {
  return isHubHost(host) ? HUB_KEY : host;
}

/**
 * Finds the entry of a map keyed as `auths` is that serves a repository: the longest path first, by whole segments, down to the host alone.
 * For one path an exact key beats one written as a URL; of several URLs the first in the file counts. An entry for another path serves nobody else.
 *
 * @see https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
 */
export function findByRepository<T>(
  entries: ReadonlyMap<string, T>,
  host: string,
  repository: string,
): { readonly key: string; readonly value: T } | undefined {
  const hosts = isHubHost(host) ? HUB_HOSTS : [host];
  const wanted = pathsOf(repository).flatMap((path) => hosts.map((name) => (path === '' ? name : `${name}/${path}`)));
  let best: { key: string; value: T; rank: number } | undefined;
  for (const [key, value] of entries) {
    const rank = rankOf(key, wanted);
    if (rank !== undefined && (best === undefined || rank < best.rank)) best = { key, value, rank };
  }
  return best;
}

/** How well a key fits, 0 best: its place in the list of what is wanted, exact keys before reduced ones of the same place. */
function rankOf(key: string, wanted: readonly string[]): number | undefined {
  const exact = wanted.indexOf(key);
  if (exact >= 0) return exact * 2;
  if (key === HUB_KEY) return rankIn(wanted, 'index.docker.io', 0);
  return rankIn(wanted, reduced(key), 1);
}

function rankIn(wanted: readonly string[], key: string, tie: number): number | undefined {
  const place = wanted.indexOf(key);
  return place < 0 ? undefined : place * 2 + tie;
}

/** `a/b/c`, `a/b`, `a` and the empty path. */
function pathsOf(repository: string): string[] {
  const segments = repository.split('/').filter((segment) => segment !== '');
  return [...segments.map((_, i) => segments.slice(0, segments.length - i).join('/')), ''];
}

/**
 * A key as host and path: no scheme, no API version, no slash at the end, brackets round an IPv6 address.
 * Letter case and an explicit port stay (`URL` would drop `:443`), so that what docker/cli tells apart is told apart.
 */
function reduced(key: string): string {
  const bare = key.replace(/^https?:\/\//, '');
  const slash = bare.indexOf('/');
  if (slash < 0) return bracketed(bare);
  const path = bare.slice(slash + 1).replace(/\/+$/, '');
  const authority = bracketed(bare.slice(0, slash));
  return path === '' || path === 'v1' || path === 'v2' ? authority : `${authority}/${path}`;
}

function bracketed(authority: string): string {
  if (authority.startsWith('[') || authority.indexOf(':') === authority.lastIndexOf(':')) return authority;
  const colon = authority.lastIndexOf(':');
  const address = authority.slice(0, colon);
  if (isIPv6(address) && /^[0-9]{1,5}$/.test(authority.slice(colon + 1))) return `[${address}]${authority.slice(colon)}`;
  return isIPv6(authority) ? `[${authority}]` : authority;
}
