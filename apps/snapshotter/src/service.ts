import { DEFAULT_ADDRESS } from '@soci/config';
import { RemoteImageFetcher } from '@soci/fetcher';
import { inheritedFuse } from '@soci/fuse/launcher';
import { exitNow } from '@soci/linux';
import { createMetrics } from '@soci/metrics';
import { runService, type ServiceContext } from '@soci/process';
import { fetch } from '@soci/proto';
import { openChannel } from '@soci/rpc';
import { serveSnapshotter } from '@soci/snapshots';

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
  const metrics = createMetrics({ processMetrics: true });
  using channel = openChannel({ address: context.config.registryFetcher.address });
  const fetcher = new RemoteImageFetcher(channel.client(fetch.FetchServiceService));
  await serveSnapshotter({ ...context, name: service.name, metrics, fuse: inheritedFuse(process.env), fetcher, env: process.env }, signal);
}

await runService(service, process.argv.slice(2), process.env, main);
