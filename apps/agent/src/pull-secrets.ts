import { PullSecretSource } from '@soci/keychain';
import type { Metrics } from '@soci/metrics';
import type { ServiceContext } from '@soci/process';
import { proxyFromEnv, ProxyRules } from '@soci/registry';
import { SecretsSync, type SecretsState } from '@soci/secrets';
import type { SourceCondition } from '@soci/status';

export interface PullSecretsOptions {
  readonly context: ServiceContext;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly metrics: Metrics;
}

export interface PullSecrets {
  readonly source: PullSecretSource;
  readonly sync: SecretsSync;
}

/**
 * Pull secrets of a Kubernetes cluster as the configuration switches them on; followed from now on.
 * @param resources what is opened ends with them
 */
export function followPullSecrets(
  { context: { config, log, userAgent }, env, metrics }: PullSecretsOptions,
  resources: AsyncDisposableStack,
): PullSecrets | undefined {
  const { enableKeychain, kubeconfigPath, namespaces } = config.kubeconfigKeychain;
  if (!enableKeychain) return undefined;
  const source = new PullSecretSource({ log, isolation: config.credentials.isolation });
  const proxies = new ProxyRules(proxyFromEnv(env));
  const proxyFor = proxies.proxyFor.bind(proxies);
  const sync = resources.use(new SecretsSync({ source, kubeconfigPath, namespaces, env, userAgent, proxyFor, log, metrics }));
  sync.start();
  return { source, sync };
}

/** For whoever asks how the service is doing; undefined when there is nothing to tell. */
export function conditionOf({ kind, problem }: SecretsState): Omit<SourceCondition, 'name'> | undefined {
  if (kind === 'synced') return undefined;
  return { state: kind === 'syncing' ? 'not-ready' : kind, reason: problem ?? 'the first list is not complete' };
}
