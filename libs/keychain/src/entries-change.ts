import { withdrawnBetween } from './change-listeners.ts';
import { HUB_HOSTS, isHubHost } from './hub.ts';
import { isHostPattern, parseImagePattern } from './image-pattern.ts';
import type { KeyringEntry } from './keyring.ts';

/** What other entries of a keyring mean for who looks up. */
export interface EntriesChange {
  /** Fingerprints of credentials that are given no more. */
  readonly withdrawn: readonly string[];
  /** Registry hosts whose look-ups are concerned; undefined: any. */
  readonly hosts: readonly string[] | undefined;
}

/** More of them are as good as all. */
const MAX_HOSTS = 64;

/** In a cluster some secret changes all the time: whoever waits at another host is not to be woken by it. */
export function changeBetween(before: readonly KeyringEntry[], after: readonly KeyringEntry[]): EntriesChange {
  const hosts = new Set<string>();
  let isAny = false;
  for (const { key } of [...before, ...after]) {
    const pattern = parseImagePattern(key);
    if (pattern === undefined) continue; // matches nothing
    if (isHostPattern(pattern.host)) isAny = true;
    const host = pattern.text.slice(0, pattern.text.length - pattern.path.length);
    for (const name of isHubHost(host) ? HUB_HOSTS : [host]) hosts.add(name);
  }
  return bounded(
    withdrawnBetween(
      before.map(({ candidate }) => candidate.credential),
      after.map(({ candidate }) => candidate.credential),
    ),
    isAny ? undefined : hosts,
  );
}

/** Both as one. */
export function joined(a: EntriesChange, b: EntriesChange): EntriesChange {
  const hosts = a.hosts === undefined || b.hosts === undefined ? undefined : new Set([...a.hosts, ...b.hosts]);
  return bounded([...a.withdrawn, ...b.withdrawn], hosts);
}

function bounded(withdrawn: readonly string[], hosts: ReadonlySet<string> | undefined): EntriesChange {
  return { withdrawn, hosts: hosts === undefined || hosts.size > MAX_HOSTS ? undefined : [...hosts] };
}
