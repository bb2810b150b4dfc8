import type { Logger } from '@soci/log';
import { isLoopbackHost } from './addresses.ts';
import { SYSTEM_CLOCK, type Clock } from './clock.ts';
import { apiHost, baseUrl, parseEndpoint } from './endpoint.ts';
import { HostsDirectory } from './hosts-directory.ts';
import { RegistryHost, type RegistryHosts } from './registry-host.ts';

/** An item of `[resolver.host."registry"] mirrors` of config.toml. */
export interface MirrorConfig {
  /** `https://mirror.example.com:5000/path`. Without a path `/v2` is meant; of the scheme only its absence of TLS is taken from `insecure`. */
  readonly host: string;
  /** Spoken to in clear text. */
  readonly insecure: boolean;
  /** For one attempt; 0 as everywhere else, negative for no limit. */
  readonly requestTimeoutSec: number;
  /** Whose credentials it gets: its own, or those of the registry that it stands for. */
  readonly credentials: 'mirror' | 'origin';
}

export interface CreateRegistryHostsOptions {
  /** `[resolver] config_path`: folders with a folder for each registry, separated by colons; empty for none. */
  readonly configPath: string;
  /** `[resolver.host]`. */
  readonly mirrors?: Readonly<Record<string, { readonly mirrors: readonly MirrorConfig[] }>>;
  readonly log: Logger;
  readonly clock?: Clock;
}

/**
 * Where registries are asked, by configuration: the hosts of the registry's hosts.toml in their order, then the mirrors of config.toml in theirs, then the registry itself.
 * A mirror that cannot be understood is logged and left out. What it returns holds nothing open.
 */
export function createRegistryHosts({ configPath, mirrors = {}, log, clock = SYSTEM_CLOCK }: CreateRegistryHostsOptions): RegistryHosts {
  const byRegistry = new Map<string, readonly Mirror[]>();
  for (const [registry, entry] of Object.entries(mirrors))
    byRegistry.set(
      registry.toLowerCase(),
      entry.mirrors.flatMap((mirror) => understood(registry, mirror, log)),
    );
  return new HostsDirectory({
    roots: configPath.split(':').filter((root) => root !== ''),
    mirrorsOf: (namespace, origin) => (byRegistry.get(namespace.toLowerCase()) ?? []).map((mirror) => toHost(mirror, origin)),
    log,
    nowMs: clock.nowMs,
  });
}

interface Mirror {
  readonly base: URL;
  readonly host: string;
  readonly config: MirrorConfig;
}

function understood(registry: string, config: MirrorConfig, log: Logger): readonly Mirror[] {
  try {
    const { authority, path } = parseEndpoint(config.host);
    const isPlain = config.insecure || isLoopbackHost(new URL(`http://${authority}`).hostname);
    return [{ base: baseUrl(isPlain ? 'http' : 'https', authority, path === '' ? '/v2' : path), host: apiHost(authority), config }];
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    log.error({ host: registry, reason: error.message }, 'mirror of a registry left out');
    return [];
  }
}

function toHost({ base, host, config }: Mirror, origin: RegistryHost): RegistryHost {
  const { requestTimeoutSec } = config;
  return new RegistryHost({
    base,
    credentialHost: config.credentials === 'origin' ? origin.credentialHost : host,
    capabilities: ['pull', 'resolve', 'referrers'],
    ...(requestTimeoutSec === 0 ? {} : { requestTimeoutMs: Math.max(0, requestTimeoutSec) * 1_000 }),
  });
}
