import { DEFAULT_ADDRESS } from '@soci/config';
import { createFetcher } from '@soci/fetcher';
import { inheritedFuse } from '@soci/fuse/launcher';
import { exitNow } from '@soci/linux';
import { createMetrics } from '@soci/metrics';
import { runService, type ServiceContext } from '@soci/process';
import { serveSnapshotter } from '@soci/snapshots';

const service = {
  name: 'soci-snapshotter-grpc',
  about: 'containerd snapshotter that mounts image layers before they are fetched',
  defaultAddress: DEFAULT_ADDRESS,
  /** Below the five seconds in which whoever stops the service expects it gone. */
  graceMs: 4_500,
  exit: exitNow,
};

/** The snapshotter and the fetcher in one process, behind one socket. */
async function main(context: ServiceContext, signal: AbortSignal): Promise<void> {
  const metrics = createMetrics({ processMetrics: true });
  await using parts = createFetcher({ ...context, env: process.env });
  await serveSnapshotter(
    { ...context, name: service.name, metrics, fuse: inheritedFuse(process.env), fetcher: parts.fetcher, env: process.env },
    signal,
  );
}

await runService(service, process.argv.slice(2), process.env, main);
