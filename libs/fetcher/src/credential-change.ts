import { isHubHost, type SourceChange } from '@soci/keychain';
import type { BlobSourceChange } from '@soci/layer';

/** Of a host that registries are asked at: those whose images are asked for there, when it is a mirror; undefined when that cannot be told. */
export type ImageHostsOf = (host: string) => readonly string[] | undefined;

/** What a change of credentials means for images: sources speak of the hosts that requests go to, images name their registry. */
export function toBlobSourceChange({ hosts }: Pick<SourceChange, 'hosts'>, imageHostsOf: ImageHostsOf): BlobSourceChange {
  if (hosts === undefined) return {};
  const concerned = new Set<string>();
  for (const host of hosts) {
    const imageHosts = imageHostsOf(host);
    if (imageHosts === undefined) return {};
    for (const imageHost of [host, ...imageHosts])
      concerned.add(isHubHost(imageHost.toLowerCase()) ? 'docker.io' : imageHost.toLowerCase());
  }
  return concerned.size === 0 ? {} : { hosts: [...concerned] };
}
