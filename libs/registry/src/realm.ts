import { isInternalAddress, isLoopbackHost } from './addresses.ts';
import { RegistryError } from './errors.ts';

export interface RealmPolicy {
  /** Hosts (with port, if any) whose token server may have a literal internal address. */
  readonly trustedRealms: readonly string[];
}

/**
 * Judges whether a token server may be asked on behalf of a registry. The registry chose the address: it must not be able to direct a credential into clear text
 * or a request at something inside the node's network.
 *
 * @throws {RegistryError} `REALM_REFUSED`
 */
export function checkRealm(realm: URL, registry: URL, { trustedRealms }: RealmPolicy): void {
  const refuse = (why: string): RegistryError =>
    new RegistryError('REALM_REFUSED', `realm ${realm.protocol}//${realm.host} of registry ${registry.host} refused: ${why}`);
  if (realm.protocol !== 'https:' && realm.protocol !== 'http:') throw refuse('neither http nor https');
  if (realm.username !== '' || realm.password !== '') throw refuse('it carries user information');
  if (registry.protocol === 'https:' && realm.protocol !== 'https:') throw refuse('the registry speaks https, its realm does not');
  if (!isInternalAddress(realm.hostname)) return;
  const bothLoopback = isLoopbackHost(realm.hostname) && isLoopbackHost(registry.hostname);
  if (realm.host !== registry.host && !bothLoopback && !trustedRealms.includes(realm.host)) throw refuse('an internal address');
}
