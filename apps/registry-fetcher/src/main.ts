import { createFetcher, fetchService } from '@soci/fetcher';
import { credentialChain } from '@soci/keychain';
import { createMetrics } from '@soci/metrics';
import { REVISION, runService, untilAborted, VERSION, type ServiceContext } from '@soci/process';
import { serveGrpc } from '@soci/rpc';
import { RecentTroubles, serveAdmin, serveServiceMetrics, ServiceHealth } from '@soci/status';
import { openBusSources } from './bus-sources.ts';

/** Only the snapshotter's user may ask: an answer is a blob that somebody's credential was good for. */
const SOCKET_MODE = 0o600;

const troubles = new RecentTroubles();

const service = {
  name: 'soci-registry-fetcher',
  about: 'fetches manifests, SOCI indexes and pieces of layers for the snapshotter',
  defaultAddress: '/run/soci-snapshotter-grpc/registry-fetcher.sock',
  graceMs: 5_000,
  onLogLine: (line: string): void => troubles.note(line),
};

async function main(context: ServiceContext, signal: AbortSignal): Promise<void> {
  const { address, config, log } = context;
  const { env } = process;
  await using resources = new AsyncDisposableStack();
  const metrics = createMetrics({ processMetrics: true });
  const { sources, namespaces, conditions, conditionOf } = openBusSources(context, metrics, resources);
  const chain = credentialChain({ ...context, env, metrics, ...sources });
  for (const link of chain.links) if ('off' in link) log.info({ source: link.name, reason: link.off }, 'credential source is off');
  const { fetcher } = resources.use(createFetcher({ ...context, env, ...namespaces, credentials: chain.source }));
  const health = new ServiceHealth({ conditions });
  const told = await serveServiceMetrics({ config, metrics, health, log });
  if (told !== undefined) resources.use(told);
  const admin = await serveAdmin({
    address: config.admin.address,
    sources: chain.links,
    ...namespaces,
    health,
    facts: { ...context, name: service.name, version: VERSION, revision: REVISION, troubles, sourceState: conditionOf },
    log,
  });
  if (admin !== undefined) resources.use(admin);
  await using server = await serveGrpc({
    address,
    services: [fetchService(fetcher, signal)],
    log,
    socketMode: SOCKET_MODE,
    activation: { environment: env, pid: process.pid, fallbackAddress: service.defaultAddress },
  });
  log.info({ address: server.address }, 'soci-registry-fetcher successfully started');
  await untilAborted(signal);
}

await runService(service, process.argv.slice(2), process.env, main);
