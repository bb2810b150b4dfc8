import { connectBus, type Bus } from '@soci/bus';
import { createImageServiceProxy, CriCredentials } from '@soci/cri';
import { serveLookups } from '@soci/lookup';
import { createMetrics } from '@soci/metrics';
import { runService, untilAborted, type ServiceContext } from '@soci/process';
import { serveGrpc } from '@soci/rpc';
import { busCondition, serveServiceMetrics, ServiceHealth } from '@soci/status';

/** Only the kubelet, which is root, may ask: pulls go on to containerd. */
const SOCKET_MODE = 0o600;

const service = {
  name: 'soci-cri-proxy',
  about: "stands between the kubelet and containerd's image service and learns who may pull which image",
  defaultAddress: '/run/soci-snapshotter-grpc/cri-proxy.sock',
  graceMs: 5_000,
};

async function main({ config, address, log }: ServiceContext, signal: AbortSignal): Promise<void> {
  await using resources = new AsyncDisposableStack();
  const metrics = createMetrics({ processMetrics: true });
  const credentials = resources.use(new CriCredentials({ isolation: config.credentials.isolation }));
  const proxy = resources.use(
    createImageServiceProxy({ upstream: { path: config.criKeychain.imageServicePath }, credentials, log, metrics }),
  );
  const { servers, keysDir, requestTimeoutMsec } = config.bus;
  let bus: Bus | undefined;
  if (servers.length === 0) log.warn('[bus] servers names no bus: nobody can ask for the credentials of pulls');
  else {
    bus = resources.use(connectBus({ servers, keysDir, service: 'cri-proxy', requestTimeoutMs: requestTimeoutMsec, log, metrics }));
    resources.use(serveLookups({ bus, source: credentials, namespacesOf: credentials.namespacesOf.bind(credentials) }));
  }
  const health = new ServiceHealth({ conditions: busCondition(bus) });
  const told = await serveServiceMetrics({ config, metrics, health, log });
  if (told !== undefined) resources.use(told);
  await using server = await serveGrpc({
    address,
    services: [],
    passThrough: proxy,
    log,
    socketMode: SOCKET_MODE,
    activation: { environment: process.env, pid: process.pid, fallbackAddress: service.defaultAddress },
  });
  log.info({ address: server.address }, `${service.name} successfully started`);
  await untilAborted(signal);
}

await runService(service, process.argv.slice(2), process.env, main);
