import { join } from 'node:path';
import type { SnapshotterConfig } from '@soci/config';
import { ContainerdStore, containerdApi, OciLayoutStore, type CachingStore } from '@soci/content';
import type { CredentialSource } from '@soci/keychain';
import type { Logger } from '@soci/log';
import { openChannel } from '@soci/rpc';
import { createRegistryHosts, proxyFromEnv, RegistryClient } from '@soci/registry';
import { AskedHosts } from './asked-hosts.ts';
import { RegistryImageFetcher, type RegistryImageFetcherOptions } from './registry-image-fetcher.ts';

export interface CreateFetcherOptions {
  readonly config: SnapshotterConfig;
  /** State folder; artifacts are kept, beside those of the command line, in `content/` below it when `[content_store] type` is `soci`. */
  readonly root: string;
  /** Of the service: `HTTPS_PROXY` and its like. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly userAgent: string;
  readonly log: Logger;
  /** Who may read which registry, see `credentialChain`. */
  readonly credentials: CredentialSource;
  /** Kubernetes namespaces whose pull of a reference runs or succeeded, where pulls are seen. */
  readonly namespacesOf?: RegistryImageFetcherOptions['namespacesOf'];
  readonly learnNamespaces?: RegistryImageFetcherOptions['learnNamespaces'];
}

/** containerd namespace whose content the artifacts are put beside. */
const CRI_NAMESPACE = 'k8s.io';

export interface FetcherParts extends AsyncDisposable {
  readonly fetcher: RegistryImageFetcher;
  readonly registry: RegistryClient;
}

/** The fetcher as config.toml describes it: registry client with its mirrors and deadlines, content store. */
export function createFetcher(options: CreateFetcherOptions): FetcherParts {
  const { config, root, env, userAgent, log, credentials, namespacesOf, learnNamespaces } = options;
  const resources = new AsyncDisposableStack();
  const { http, blob, resolver } = config;
  const asked = new AskedHosts();
  const registry = resources.use(
    new RegistryClient({
      credentials: asked.watch(credentials),
      log,
      userAgent,
      trustedRealms: resolver.trustedRealms,
      proxy: proxyFromEnv(env),
      hosts: createRegistryHosts({ configPath: resolver.configPath, ...(resolver.host && { mirrors: resolver.host }), log }),
      http: {
        dialTimeoutMs: http.dialTimeoutMsec,
        responseHeaderTimeoutMs: http.responseHeaderTimeoutMsec,
        requestTimeoutMs: http.requestTimeoutMsec,
        maxRetries: http.maxRetries,
        minWaitMs: http.minWaitMsec,
        maxWaitMs: http.maxWaitMsec,
      },
      rangeHttp: {
        requestTimeoutMs: blob.fetchingTimeoutSec * 1_000,
        maxRetries: blob.maxRetries,
        minWaitMs: blob.minWaitMsec,
        maxWaitMs: blob.maxWaitMsec,
      },
    }),
  );
  const store = openStore(config, root, resources);
  const fetcher = resources.use(
    new RegistryImageFetcher({
      registry,
      log,
      store,
      credentials,
      imageHostsOf: asked.imageHostsOf,
      ...(namespacesOf && { namespacesOf }),
      ...(learnNamespaces && { learnNamespaces }),
    }),
  );
  return { fetcher, registry, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

function openStore({ contentStore }: SnapshotterConfig, root: string, resources: AsyncDisposableStack): CachingStore {
  if (contentStore.type === 'soci') return new OciLayoutStore(join(root, 'content'));
  const channel = resources.use(
    openChannel({ address: contentStore.containerdAddress, headers: { 'containerd-namespace': CRI_NAMESPACE } }),
  );
  return new ContainerdStore({ api: containerdApi(channel) });
}
