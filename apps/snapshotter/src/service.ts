import { DEFAULT_ADDRESS } from '@soci/config';
import { RemoteImageFetcher } from '@soci/fetcher';
import { KeeperLink } from '@soci/fuse';
import { inheritedFuse } from '@soci/fuse/launcher';
import { exitNow } from '@soci/linux';
import { createMetrics } from '@soci/metrics';
import { runService, type ServiceContext } from '@soci/process';
import { fetch } from '@soci/proto';
import { openChannel } from '@soci/rpc';
import { serveSnapshotter } from '@soci/snapshots';
import { healthRoutes, registerHealthMetrics, ServiceHealth, SnapshotterWatch } from '@soci/status';

const service = {
  name: 'soci-snapshotter',
  about: 'containerd snapshotter that gets layers from the registry-fetcher',
  defaultAddress: DEFAULT_ADDRESS,
  /** Below the five seconds in which whoever stops the service expects it gone. */
  graceMs: 4_500,
  exit: exitNow,
};

/** The snapshotter alone: whatever it needs from a registry it asks the registry-fetcher for. */
async function main(context: ServiceContext, signal: AbortSignal): Promise<void> {
  const { env } = process;
  const metrics = createMetrics({ processMetrics: true });
  using resources = new DisposableStack();
  const keeper = KeeperLink.connect({ environment: env, log: context.log });
  if (keeper !== undefined) resources.use(keeper);
  const channel = resources.use(openChannel({ address: context.config.registryFetcher.address }));
  const fetcher = new RemoteImageFetcher(channel.client(fetch.FetchServiceService));
  const watch = new SnapshotterWatch();
  const health = new ServiceHealth({ conditions: watch.conditions() });
  await registerHealthMetrics(metrics, health);
  await serveSnapshotter(
    {
      ...context,
      name: service.name,
      fuse: inheritedFuse(env),
      keeper,
      fetcher,
      env,
      metrics,
      routes: healthRoutes(health),
      monitor: watch,
    },
    signal,
  );
}

await runService(service, process.argv.slice(2), process.env, main);
