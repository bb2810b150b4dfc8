import { connectBus } from '@soci/bus';
import type { ImageReference } from '@soci/image';
import { BusCredentialSource, RemoteNamespaces } from '@soci/lookup';
import type { ServiceContext } from '@soci/process';
import type { Metrics } from '@soci/metrics';
import { busCondition, type HealthCondition, type SourceCondition } from '@soci/status';

/** Credentials that other services hold, and who pulled what. */
export interface BusSources {
  /** For `credentialChain`. */
  readonly sources: { readonly cri?: BusCredentialSource; readonly secrets?: BusCredentialSource };
  /** For `createFetcher`. Namespaces matter only where they keep credentials apart. */
  readonly namespaces:
    | {
        readonly namespacesOf: RemoteNamespaces['of'];
        readonly learnNamespaces: (references: readonly ImageReference[], signal: AbortSignal) => Promise<void>;
      }
    | object;
  /** For `/readyz`. */
  readonly conditions: readonly HealthCondition[];
  readonly conditionOf: (name: string) => Omit<SourceCondition, 'name'> | undefined;
}

/**
 * Sources that cri-proxy and secret-syncer serve over the bus, as the configuration switches them on; none where it names no bus.
 * @param resources what is opened ends with them
 */
export function openBusSources({ config, log }: ServiceContext, metrics: Metrics, resources: AsyncDisposableStack): BusSources {
  const { bus: settings, criKeychain, kubeconfigKeychain, credentials } = config;
  if (settings.servers.length === 0) return { sources: {}, namespaces: {}, conditions: [], conditionOf: () => undefined };
  const { servers, keysDir, requestTimeoutMsec } = settings;
  const bus = resources.use(
    connectBus({ servers, keysDir, service: 'registry-fetcher', requestTimeoutMs: requestTimeoutMsec, log, metrics }),
  );
  const open = (name: BusCredentialSource['name']): BusCredentialSource => resources.use(new BusCredentialSource({ bus, name, log }));
  const cri = criKeychain.enableKeychain ? open('cri') : undefined;
  const secrets = kubeconfigKeychain.enableKeychain ? open('kubernetes-secrets') : undefined;
  const remote =
    cri !== undefined && credentials.isolation === 'namespace' ? resources.use(new RemoteNamespaces({ bus, source: cri, log })) : undefined;
  return {
    sources: { ...(cri && { cri }), ...(secrets && { secrets }) },
    namespaces: remote === undefined ? {} : { namespacesOf: remote.of.bind(remote), learnNamespaces: remote.learn.bind(remote) },
    conditions: [...busCondition(bus), ...[cri, secrets].flatMap((source) => (source === undefined ? [] : sourceCondition(source)))],
    conditionOf(name) {
      const state = [cri, secrets].find((source) => source?.name === name)?.state;
      return state === undefined || state.kind === 'ready' ? undefined : { state: 'not-ready', reason: state.reason };
    },
  };
}

function sourceCondition(source: BusCredentialSource): HealthCondition {
  return {
    name: source.name,
    check() {
      const { state } = source;
      return state.kind === 'ready' ? { ok: true, message: 'answers' } : { ok: false, message: state.reason };
    },
  };
}
