/** Docker Hub's one key in config files and helpers. */
export const HUB_KEY = 'https://index.docker.io/v1/';

/** Every host name that means Docker Hub, the one requests go to last. */
export const HUB_HOSTS: readonly string[] = ['index.docker.io', 'docker.io', 'registry-1.docker.io'];

export function isHubHost(host: string): boolean {
  return HUB_HOSTS.includes(host);
}
