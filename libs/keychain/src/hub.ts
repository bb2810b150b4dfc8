/** Docker Hub's one key in config files and helpers. */
export const HUB_KEY = 'https://index.docker.io/v1/';

/** Every host name that means Docker Hub, the one requests go to last. */
export const HUB_HOSTS: readonly string[] = ['index.docker.io', 'docker.io', 'registry-1.docker.io'];

/** The one name of a registry: every host name of Docker Hub is the same. */
export function registryOf(host: string): string {
  const lower = host.toLowerCase();
  return isHubHost(lower) ? 'docker.io' : lower;
}

export function isHubHost(host: string): boolean {
  return HUB_HOSTS.includes(host);
}
