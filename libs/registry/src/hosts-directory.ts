import { SingleFlight } from '@soci/keychain';
import type { Logger } from '@soci/log';
import { LRUCache } from 'lru-cache';
import { isLoopbackHost } from './addresses.ts';
import type { Connection } from './connection.ts';
import { apiHost, baseUrl } from './endpoint.ts';
import { RegistryError } from './errors.ts';
import { findHostFolder, loadConnection, readHostFolder } from './host-folder.ts';
import type { HostEntry } from './hosts-toml.ts';
import { RegistryHost, type RegistryHostOptions, type RegistryHosts } from './registry-host.ts';
import { SeenFiles } from './seen-files.ts';

export interface HostsDirectoryOptions {
  /** Folders with a folder for each registry, best first. */
  readonly roots: readonly string[];
  /** Asked between the hosts of a hosts.toml and the registry itself. */
  readonly mirrorsOf: (namespace: string, origin: RegistryHost) => readonly RegistryHost[];
  readonly log: Logger;
  readonly nowMs: () => number;
}

interface Known {
  /** Or why there are none. */
  readonly outcome: readonly RegistryHost[] | RegistryError;
  readonly files: SeenFiles;
  checkedAtMs: number;
}

const MAX_KNOWN = 512;
/** How long an edit may go unnoticed. */
const CHECK_EVERY_MS = 2_000;

/** What a folder such as /etc/containerd/certs.d says about registries, as containerd reads it. Edits are noticed within seconds; requests in between touch no file. */
export class HostsDirectory implements RegistryHosts {
  readonly #options: HostsDirectoryOptions;
  readonly #known = new LRUCache<string, Known>({ max: MAX_KNOWN });
  readonly #flights = new SingleFlight<Known>();

  constructor(options: HostsDirectoryOptions) {
    this.#options = options;
  }

  async hostsFor(namespace: string, origin: RegistryHost, signal: AbortSignal): Promise<readonly RegistryHost[]> {
    const key = `${namespace} ${origin.key}`;
    const { outcome } = this.#fresh(key) ?? (await this.#flights.run(key, signal, () => this.#look(key, namespace, origin)));
    if (outcome instanceof RegistryError) throw outcome;
    return outcome;
  }

  #fresh(key: string): Known | undefined {
    const known = this.#known.get(key);
    return known !== undefined && this.#options.nowMs() - known.checkedAtMs < CHECK_EVERY_MS ? known : undefined;
  }

  async #look(key: string, namespace: string, origin: RegistryHost): Promise<Known> {
    const { nowMs } = this.#options;
    const known = this.#known.get(key);
    if (known !== undefined && !(known.outcome instanceof RegistryError) && (await known.files.isUnchanged())) {
      known.checkedAtMs = nowMs();
      return known;
    }
    const files = new SeenFiles();
    const outcome = await this.#read(namespace, origin, files).catch((error: unknown) => {
      if (error instanceof RegistryError) return error;
      throw error;
    });
    const read: Known = { outcome, files, checkedAtMs: nowMs() };
    this.#known.set(key, read);
    return read;
  }

  async #read(namespace: string, origin: RegistryHost, files: SeenFiles): Promise<readonly RegistryHost[]> {
    const { roots, mirrorsOf, log } = this.#options;
    const mirrors = mirrorsOf(namespace, origin);
    const folder = await findHostFolder(roots, namespace, files);
    if (folder === undefined) return [...mirrors, origin];
    const read = await readHostFolder(folder, files, log);
    const first: RegistryHost[] = [];
    for (const entry of read.hosts) first.push(await toHost(entry, namespace, origin, files));
    const named = new Set(first.map(({ base }) => base.href));
    const last = await toHost(read.server, namespace, origin, files);
    const hosts = [...first, ...mirrors.filter(({ base }) => !named.has(base.href)), last];
    log.debug({ host: namespace, folder, hosts: hosts.map(({ base }) => base.href) }, 'hosts of a registry read');
    return hosts;
  }
}

/** Where TLS is configured for a host whose address says http, TLS is tried first, as containerd does, unless the port leaves no doubt. */
async function toHost(entry: HostEntry, namespace: string, origin: RegistryHost, files: SeenFiles): Promise<RegistryHost> {
  const { endpoint, overridePath, headers, capabilities } = entry;
  const path = endpoint === undefined || overridePath || endpoint.path.endsWith('/v2') ? (endpoint?.path ?? '/v2') : `${endpoint.path}/v2`;
  const base = endpoint === undefined ? origin.base : baseUrl(endpoint.scheme, endpoint.authority, path);
  const isConfigured = entry.authorities !== undefined || entry.clients !== undefined || entry.skipVerify !== undefined;
  const isTlsFirst = base.protocol === 'http:' && isConfigured && !(endpoint?.authority ?? origin.credentialHost).endsWith(':80');
  const own = await loadConnection(entry, files, isTlsFirst && endpoint === undefined && isLoopbackHost(base.hostname));
  const connection: Connection | undefined = own ?? (endpoint === undefined ? origin.connection : undefined);
  const common: Omit<RegistryHostOptions, 'base'> = {
    credentialHost: endpoint === undefined || entry.credentials === 'origin' ? origin.credentialHost : apiHost(endpoint.authority),
    capabilities,
    headers,
    ...(endpoint === undefined || apiHost(endpoint.authority) === apiHost(namespace.toLowerCase()) ? {} : { namespace }),
    ...(connection === undefined ? {} : { connection }),
  };
  if (!isTlsFirst) return new RegistryHost({ ...common, base });
  return new RegistryHost({
    ...common,
    base: new URL(base.href.replace(/^http:/, 'https:')),
    plain: new RegistryHost({ ...common, base }),
  });
}
