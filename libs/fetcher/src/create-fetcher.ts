import { join } from 'node:path';
import type { SnapshotterConfig } from '@soci/config';
import { ContainerdStore, containerdApi, OciLayoutStore, type ContentStore } from '@soci/content';
import { DockerConfigSource, dockerConfigPath, type CredentialSource } from '@soci/keychain';
import type { Logger } from '@soci/log';
import { openChannel } from '@soci/rpc';
import { proxyFromEnv, RegistryClient } from '@soci/registry';
import { RegistryImageFetcher } from './registry-image-fetcher.ts';

export interface CreateFetcherOptions {
  readonly config: SnapshotterConfig;
  /** State folder; artifacts are kept in `content/` below it when `[content_store] type` is `soci`. */
  readonly root: string;
  /** Of the service: `HOME`, `DOCKER_CONFIG`, `DOCKER_AUTH_CONFIG`, `HTTPS_PROXY` and their like. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly userAgent: string;
  readonly log: Logger;
}

/** containerd namespace whose content the artifacts are put beside. */
const CRI_NAMESPACE = 'k8s.io';

export interface FetcherParts extends AsyncDisposable {
  readonly fetcher: RegistryImageFetcher;
  readonly registry: RegistryClient;
}

/** The fetcher as config.toml describes it: registry client, credential sources in the documented order, content store. */
export function createFetcher({ config, root, env, userAgent, log }: CreateFetcherOptions): FetcherParts {
  const resources = new AsyncDisposableStack();
  const credentials: CredentialSource = new DockerConfigSource({ path: dockerConfigPath(env), env, log });
  const { http, blob } = config;
  const registry = resources.use(
    new RegistryClient({
      credentials,
      log,
      userAgent,
      proxy: proxyFromEnv(env),
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
  const fetcher = resources.use(new RegistryImageFetcher({ registry, log, store }));
  return { fetcher, registry, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

function openStore({ contentStore }: SnapshotterConfig, root: string, resources: AsyncDisposableStack): ContentStore {
  if (contentStore.type === 'soci') return new OciLayoutStore(join(root, 'content'));
  const channel = resources.use(
    openChannel({ address: contentStore.containerdAddress, headers: { 'containerd-namespace': CRI_NAMESPACE } }),
  );
  return new ContainerdStore({ api: containerdApi(channel) });
}
