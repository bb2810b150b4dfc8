import { connectBus, type Bus } from '@soci/bus';
import { PullSecretSource } from '@soci/keychain';
import { serveLookups } from '@soci/lookup';
import { createMetrics } from '@soci/metrics';
import { runService, untilAborted, type ServiceContext } from '@soci/process';
import { proxyFromEnv, ProxyRules } from '@soci/registry';
import { serveGrpc } from '@soci/rpc';
import { SecretsSync, type SecretsState } from '@soci/secrets';
import { busCondition, serveServiceMetrics, ServiceHealth, type HealthFinding } from '@soci/status';

const SOCKET_MODE = 0o600;

const service = {
  name: 'soci-secret-syncer',
  about: 'follows the registry credentials that a Kubernetes cluster keeps in secrets',
  defaultAddress: '/run/soci-snapshotter-grpc/secret-syncer.sock',
  graceMs: 5_000,
};

async function main({ config, address, log, userAgent }: ServiceContext, signal: AbortSignal): Promise<void> {
  const { enableKeychain, kubeconfigPath, namespaces } = config.kubeconfigKeychain;
  const source = new PullSecretSource({ log, isolation: config.credentials.isolation });
  const proxies = new ProxyRules(proxyFromEnv(process.env));
  const proxyFor = proxies.proxyFor.bind(proxies);
  await using resources = new AsyncDisposableStack();
  const metrics = createMetrics({ processMetrics: true });
  const sync = resources.use(new SecretsSync({ source, kubeconfigPath, namespaces, env: process.env, userAgent, proxyFor, log, metrics }));
  const { servers, keysDir, requestTimeoutMsec } = config.bus;
  let bus: Bus | undefined;
  if (servers.length === 0) log.warn('[bus] servers names no bus: nobody can ask for the secrets');
  else {
    bus = resources.use(connectBus({ servers, keysDir, service: 'secret-syncer', requestTimeoutMs: requestTimeoutMsec, log, metrics }));
    resources.use(serveLookups({ bus, source, state: () => stateOf(sync) }));
  }
  const synced = (): HealthFinding => {
    const { ready, reason } = stateOf(sync);
    return { ok: ready, message: ready ? `${source.size} secrets` : reason };
  };
  const health = new ServiceHealth({ conditions: [...busCondition(bus), { name: 'secrets', check: synced }] });
  const told = await serveServiceMetrics({ config, metrics, health, log });
  if (told !== undefined) resources.use(told);
  await using server = await serveGrpc({
    address,
    services: [],
    log,
    socketMode: SOCKET_MODE,
    activation: { environment: process.env, pid: process.pid, fallbackAddress: service.defaultAddress },
  });
  const tellHealth = ({ kind }: Pick<SecretsState, 'kind'>): void => server.health.set('', kind === 'synced');
  tellHealth(sync.state);
  sync.onChange(tellHealth); // for as long as both are there
  if (enableKeychain) sync.start();
  else log.warn('kubeconfig_keychain enable_keychain is false: no secrets are followed');
  log.info({ address: server.address }, 'soci-secret-syncer successfully started');
  await untilAborted(signal);
}

function stateOf({ state: { kind, problem } }: SecretsSync): { readonly ready: boolean; readonly reason: string } {
  return { ready: kind === 'synced', reason: problem ?? (kind === 'synced' ? '' : 'the first list is not complete') };
}

await runService(service, process.argv.slice(2), process.env, main);
