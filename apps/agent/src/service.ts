import { DEFAULT_ADDRESS } from '@soci/config';
import { CriCredentials, createImageServiceProxy } from '@soci/cri';
import { createFetcher } from '@soci/fetcher';
import { inheritedFuse } from '@soci/fuse/launcher';
import { credentialChain, PullSecretSource } from '@soci/keychain';
import { exitNow } from '@soci/linux';
import { createMetrics } from '@soci/metrics';
import { runService, type ServiceContext } from '@soci/process';
import { proxyFromEnv, ProxyRules } from '@soci/registry';
import { SecretsSync } from '@soci/secrets';
import { serveSnapshotter, type RunningSnapshotter } from '@soci/snapshots';
import { serveAdmin } from '@soci/status';

const service = {
  name: 'soci-snapshotter-grpc',
  about: 'containerd snapshotter that mounts image layers before they are fetched',
  defaultAddress: DEFAULT_ADDRESS,
  /** Below the five seconds in which whoever stops the service expects it gone. */
  graceMs: 4_500,
  exit: exitNow,
};

/** All services in one process, behind one socket: the snapshotter, the fetcher and what brings credentials. */
async function main(context: ServiceContext, signal: AbortSignal): Promise<void> {
  const { config, log, userAgent } = context;
  const { env } = process;
  const { isolation } = config.credentials;
  const metrics = createMetrics({ processMetrics: true });
  await using resources = new AsyncDisposableStack();

  let snapshotter: RunningSnapshotter | undefined;
  const isInUse = (reference: string): boolean => snapshotter?.isImageUsed(reference) ?? true;
  const cri = config.criKeychain.enableKeychain ? resources.use(new CriCredentials({ isolation, isInUse })) : undefined;
  const passThrough =
    cri &&
    resources.use(createImageServiceProxy({ upstream: { path: config.criKeychain.imageServicePath }, credentials: cri, log, metrics }));
  const secrets = config.kubeconfigKeychain.enableKeychain ? new PullSecretSource({ log, isolation }) : undefined;
  if (secrets !== undefined) {
    const proxies = new ProxyRules(proxyFromEnv(env));
    const proxyFor = proxies.proxyFor.bind(proxies);
    resources.use(new SecretsSync({ ...config.kubeconfigKeychain, source: secrets, env, userAgent, proxyFor, log, metrics })).start();
  }

  const chain = credentialChain({ config, env, log, metrics, ...(cri && { cri }), ...(secrets && { secrets }) });
  const namespacesOf = cri?.namespacesOf.bind(cri);
  const about = { ...context, env, ...(namespacesOf && { namespacesOf }) };
  const { fetcher } = resources.use(createFetcher({ ...about, credentials: chain.source }));
  const admin = await serveAdmin({ ...about, address: config.admin.address, sources: chain.links });
  if (admin !== undefined) resources.use(admin);
  const onOpen = (opened: RunningSnapshotter): void => void (snapshotter = opened);
  await serveSnapshotter({ ...context, name: service.name, fuse: inheritedFuse(env), fetcher, env, metrics, passThrough, onOpen }, signal);
}

await runService(service, process.argv.slice(2), process.env, main);
