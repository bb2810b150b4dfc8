import { createImageServiceProxy, CriCredentials } from '@soci/cri';
import { runService, untilAborted, type ServiceContext } from '@soci/process';
import { serveGrpc } from '@soci/rpc';

/** Only the kubelet, which is root, may ask: pulls go on to containerd. */
const SOCKET_MODE = 0o600;

const service = {
  name: 'soci-cri-proxy',
  about: "stands between the kubelet and containerd's image service and learns who may pull which image",
  defaultAddress: '/run/soci-snapshotter-grpc/cri-proxy.sock',
  graceMs: 5_000,
};

async function main({ config, address, log }: ServiceContext, signal: AbortSignal): Promise<void> {
  using credentials = new CriCredentials({ isolation: config.credentials.isolation });
  using proxy = createImageServiceProxy({ upstream: { path: config.criKeychain.imageServicePath }, credentials, log });
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
