import { MAX_CANDIDATES, registryOf, type Candidate } from '@soci/keychain';
import type { PulledEntry } from './pulled-entries.ts';

/** Whether an entry's login may be shown to its registry: `server_address`, where a client wrote it, names no other. */
export function isForItsRegistry({ login, host }: PulledEntry): boolean {
  return login.kind !== 'none' && (login.serverHost === undefined || registryOf(login.serverHost) === registryOf(host));
}

/**
 * Puts the logins of an image's own pulls and of later pulls from its registry in the order they are tried in. What is known to work comes before what is
 * being tried by a pull just now, and the image's own before another's; a turn each, so that none of the three crowds the others out.
 *
 * @param own entries of the image, at least one
 * @param others entries of the registry
 * @param isVisible whether the asking side may have an entry of others
 */
export function orderCandidates(
  own: readonly PulledEntry[],
  others: Iterable<PulledEntry>,
  isVisible: (entry: PulledEntry) => boolean,
): readonly Candidate[] {
  const proven = own.filter(({ rank }) => rank > 0).sort((a, b) => b.rank - a.rank);
  const running = own.filter(({ rank }) => rank === 0).sort((a, b) => b.sinceMs - a.sinceMs);
  const newest = proven[0]?.rank ?? Infinity;
  const fresher: PulledEntry[] = [];
  for (const entry of others) if (entry.rank > newest && isForItsRegistry(entry) && isVisible(entry)) fresher.push(entry);
  fresher.sort((a, b) => b.rank - a.rank);

  const candidates = new Map<string, Candidate>();
  const longest = Math.max(proven.length, running.length, fresher.length);
  for (let turn = 0; turn < longest && candidates.size < MAX_CANDIDATES; turn++) {
    for (const entry of [proven[turn], running[turn], fresher[turn]]) {
      if (entry?.login.kind !== 'credential' || candidates.size >= MAX_CANDIDATES || candidates.has(entry.fingerprint)) continue;
      candidates.set(entry.fingerprint, { credential: entry.login.credential, entry: nameOf(entry), sinceMs: entry.sinceMs });
    }
  }
  return [...candidates.values()];
}

function nameOf({ reference, namespace }: PulledEntry): string {
  return `pull of ${reference} ${namespace === '' ? 'without a pod' : `for namespace ${namespace}`}`;
}
