import { DEFAULT_ADDRESS, type SnapshotterConfig } from '@soci/config';
import { FuseState, type KeeperLink } from '@soci/fuse';
import { activationEnvironment, type InheritedFuse, isKept } from '@soci/fuse/launcher';
import { notifySystemd } from '@soci/linux';
import type { Logger } from '@soci/log';
import { type Metrics, type Routes, serveMetrics } from '@soci/metrics';
import { untilAborted } from '@soci/process';
import { type PassThrough, serveGrpc } from '@soci/rpc';
import { createSnapshotter, type RunningSnapshotter } from './create-snapshotter.ts';
import type { ImageSource } from './image-planner.ts';
import type { SnapshotterView, SnapshotterViewOptions } from './snapshotter-view.ts';

export interface ServeSnapshotterOptions {
  readonly name: string;
  readonly config: SnapshotterConfig;
  /** See `serveGrpc`. */
  readonly address: string;
  readonly root: string;
  readonly fuse: InheritedFuse;
  /** Who holds what outlives this process; left out where nobody does. */
  readonly keeper?: SnapshotterKeeper | undefined;
  /** Who speaks to registries; disposed of by its owner, after this. */
  readonly fetcher: ImageSource;
  /** For systemd's sockets. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  /** Where the snapshotter counts, served where the configuration wants it. */
  readonly metrics: Metrics;
  /** What else is served with the metrics, e.g. `/healthz`. */
  readonly routes?: Routes | undefined;
  /** What else is served on the socket. */
  readonly passThrough?: PassThrough | undefined;
  /** Called once the state is open and before anybody is served. */
  readonly onOpen?: (snapshotter: RunningSnapshotter) => void;
  /** Who tells others how the snapshotter is doing. */
  readonly monitor?: SnapshotterMonitor | undefined;
}

export type SnapshotterKeeper = Pick<KeeperLink, 'memory' | 'hold' | 'ready' | 'renewDevice' | 'outlivesStop' | 'restarts' | 'lastEnd'>;

/** Is told of the life of a snapshotter. */
export interface SnapshotterMonitor {
  /** Its state can be asked for; that may be long before all is restored. */
  opened(view: SnapshotterView): void;
  /** Metrics are served, with the further routes. */
  metricsServed?(address: string): void;
  /** containerd can connect. */
  serving(address: string): void;
  /** It cannot any more. */
  stopping(): void;
}

type Kept = ReturnType<SnapshotterViewOptions['restarts']>;

/**
 * Opens a snapshotter and serves it, with metrics where the configuration wants them, until the signal. The last line of the start says `successfully started`:
 * programs that wait for the Go snapshotter look for it. Layers that were mounted before are restored behind it.
 * @throws when layers can be served no more though the kernel can: whoever supervises the process starts it again, and that mounts them
 */
export async function serveSnapshotter(options: ServeSnapshotterOptions, signal: AbortSignal): Promise<void> {
  const { name, config, address, root, fuse, keeper, fetcher, env, log, metrics, routes, passThrough, onOpen, monitor } = options;
  const { promise: broken, reject } = Promise.withResolvers<never>();
  broken.catch(() => undefined); // looked at below, once all is started
  const onBroken = (error: Error): void => {
    keeper?.renewDevice();
    reject(error);
  };
  const fuseState = keeper && (await FuseState.open(keeper));
  const restarts = (): Kept => keeper && { count: keeper.restarts, lastEnd: keeper.lastEnd };
  const leavesMount = (): boolean => keeper?.outlivesStop ?? false;
  await using snapshotter = await createSnapshotter(
    { config, root, fuse, fuseState, leavesMount, restarts, fetcher, log, metrics, onBroken },
    signal,
  );
  onOpen?.(snapshotter);
  monitor?.opened(snapshotter.view);
  const { metricsAddress, metricsNetwork, noPrometheus } = config;
  await using metricsServer =
    metricsAddress === '' || noPrometheus
      ? undefined
      : await serveMetrics(metrics, metricsNetwork, metricsAddress, { ...(routes && { routes }) });
  if (metricsServer !== undefined) {
    log.info({ address: metricsServer.address }, 'metrics are served');
    monitor?.metricsServed?.(metricsServer.address);
  }
  await using server = await serveGrpc({
    address,
    services: snapshotter.services,
    ...(passThrough && { passThrough }),
    log,
    activation: { environment: activationEnvironment(env, process.pid), pid: process.pid, fallbackAddress: DEFAULT_ADDRESS },
  });
  log.info({ address: server.address }, `${name} successfully started`);
  snapshotter.noteServing();
  monitor?.serving(server.address);
  tell(env, 'READY=1', log);
  keeper?.ready();
  await Promise.race([untilAborted(signal), broken]);
  monitor?.stopping();
  tell(env, 'STOPPING=1', log);
}

/** In the name of the keeper, if there is one: it is what systemd knows as the main process. */
function tell(env: ServeSnapshotterOptions['env'], state: string, log: Logger): void {
  const pid = isKept(env) ? process.ppid : process.pid;
  try {
    notifySystemd(env, state, { pid, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
  } catch (error) {
    log.warn({ error }, 'systemd cannot be told how the service is doing');
  }
}
