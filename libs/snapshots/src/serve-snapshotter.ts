import { DEFAULT_ADDRESS, type SnapshotterConfig } from '@soci/config';
import { activationEnvironment, type InheritedFuse, isLaunched } from '@soci/fuse/launcher';
import { notifySystemd } from '@soci/linux';
import type { Logger } from '@soci/log';
import { type Metrics, serveMetrics } from '@soci/metrics';
import { untilAborted } from '@soci/process';
import { type PassThrough, serveGrpc } from '@soci/rpc';
import { createSnapshotter, type RunningSnapshotter } from './create-snapshotter.ts';
import type { ImageSource } from './image-planner.ts';

export interface ServeSnapshotterOptions {
  readonly name: string;
  readonly config: SnapshotterConfig;
  /** See `serveGrpc`. */
  readonly address: string;
  readonly root: string;
  readonly fuse: InheritedFuse;
  /** Who speaks to registries; disposed of by its owner, after this. */
  readonly fetcher: ImageSource;
  /** For systemd's sockets. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  /** Where the snapshotter counts, served where the configuration wants it. */
  readonly metrics: Metrics;
  /** What else is served on the socket. */
  readonly passThrough?: PassThrough | undefined;
  /** Called once the state is open and before anybody is served. */
  readonly onOpen?: (snapshotter: RunningSnapshotter) => void;
}

/**
 * Opens a snapshotter and serves it, with metrics where the configuration wants them, until the signal. The last line of the start says `successfully started`:
 * programs that wait for the Go snapshotter look for it.
 * @throws when layers can be served no more though the kernel can: whoever supervises the process starts it again, and that mounts them
 */
export async function serveSnapshotter(
  { name, config, address, root, fuse, fetcher, env, log, metrics, passThrough, onOpen }: ServeSnapshotterOptions,
  signal: AbortSignal,
): Promise<void> {
  const { promise: broken, reject: onBroken } = Promise.withResolvers<never>();
  broken.catch(() => undefined); // looked at below, once all is started
  await using snapshotter = await createSnapshotter({ config, root, fuse, fetcher, log, metrics, onBroken }, signal);
  onOpen?.(snapshotter);
  const { metricsAddress, metricsNetwork, noPrometheus } = config;
  await using metricsServer =
    metricsAddress === '' || noPrometheus ? undefined : await serveMetrics(metrics, metricsNetwork, metricsAddress);
  if (metricsServer !== undefined) log.info({ address: metricsServer.address }, 'metrics are served');
  await using server = await serveGrpc({
    address,
    services: snapshotter.services,
    ...(passThrough && { passThrough }),
    log,
    activation: { environment: activationEnvironment(env, process.pid), pid: process.pid, fallbackAddress: DEFAULT_ADDRESS },
  });
  log.info({ address: server.address }, `${name} successfully started`);
  tell(env, 'READY=1', log);
  await Promise.race([untilAborted(signal), broken]);
  tell(env, 'STOPPING=1', log);
}

/** In the name of the launcher, if there is one: it is what systemd knows as the main process. */
function tell(env: ServeSnapshotterOptions['env'], state: string, log: Logger): void {
  const pid = isLaunched(env) ? process.ppid : process.pid;
  try {
    notifySystemd(env, state, { pid, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
  } catch (error) {
    log.warn({ error }, 'systemd cannot be told how the service is doing');
  }
}
