import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { SnapshotterConfig } from '@soci/config';
import type { InheritedFuse } from '@soci/fuse/launcher';
import { Syscalls } from '@soci/linux';
import type { Logger } from '@soci/log';
import type { Metrics } from '@soci/metrics';
import type { ServiceImplementation } from '@soci/rpc';
import type { ImageSource } from './image-planner.ts';
import { isRemote } from './labels.ts';
import type { LazySnapshot } from './lazy-layers.ts';
import { openLazyStack, type LazyMode, type LazyStack, type LazyStackOptions } from './lazy-stack.ts';
import { idOfDirectory, SnapshotDirectories } from './snapshot-directories.ts';
import { assertOverlaySupported } from './overlay-support.ts';
import { registerSnapshotterMetrics } from './snapshotter-metrics.ts';
import { snapshotsService } from './snapshots-service.ts';
import { Snapshotter } from './snapshotter.ts';
import { SqliteMetadataStore } from './sqlite-metadata-store.ts';
import { needsUserXattr } from './user-xattr.ts';

export interface CreateSnapshotterOptions {
  /** State root, e.g. `/var/lib/soci-snapshotter-grpc`; made when it is not there. */
  readonly root: string;
  readonly fuse: InheritedFuse;
  /** Who speaks to registries; disposed of by its owner, after this. */
  readonly fetcher: ImageSource;
  readonly config: SnapshotterConfig;
  readonly log: Logger;
  /** Where counts are shown. */
  readonly metrics?: Metrics;
  readonly onBroken?: LazyStackOptions['onBroken'];
  /** Stands in for the probe of the kernel. */
  readonly probe?: LazyStackOptions['probe'];
  /** How long Prepare waits, once for an image, for credentials that are not ready; 10 s by default. */
  readonly notReadyWaitMs?: number;
}

/** The snapshotter, ready to be served. Ends when it is disposed of: mounts stay, for the containers that stand on them. */
export interface RunningSnapshotter extends AsyncDisposable {
  /** What a gRPC server has to offer. */
  readonly services: readonly ServiceImplementation[];
  readonly snapshotter: Snapshotter;
  readonly mode: LazyMode;
  /** Whether a snapshot belongs to an image that was pulled under this name. */
  isImageUsed(reference: string): boolean;
}

/**
 * Opens the state of a snapshotter and mounts again what was mounted lazily, from what is on disk: no registry is asked.
 * @throws {SnapshotError} `STORE_BUSY` when another process has the root, `STORE_FOREIGN` when it belongs to another program,
 * `FAILED_PRECONDITION` when overlayfs does not work there
 */
export async function createSnapshotter(options: CreateSnapshotterOptions, signal: AbortSignal): Promise<RunningSnapshotter> {
  const { log } = options;
  const root = join(options.root, 'snapshotter');
  await mkdir(root, { recursive: true, mode: 0o700 });
  await using resources = new AsyncDisposableStack();
  const calls = resources.use(new Syscalls());
  const store = resources.use(new SqliteMetadataStore({ path: join(root, 'metadata.db') }));
  const directories = await SnapshotDirectories.open(root);
  store.reserveIds(Math.max(0, ...(await directories.names()).map((name) => idOfDirectory(name) ?? 0)));
  if (options.config.skipCheckSnapshotterSupported) log.warn('not checked whether overlayfs can be used here');
  else await assertOverlaySupported(root, calls);
  const stack = resources.use(await openLazyStack({ ...options, source: options.fetcher, metadata: store, directories, calls }, signal));
  report(stack, log);
  await stack.layers.restore(lazySnapshots(store, directories), signal);
  const overlayOptions = (await needsUserXattr(root)) ? ['userxattr'] : [];
  const counters = { lazyFailures: 0 };
  if (options.metrics !== undefined) registerSnapshotterMetrics(options.metrics, counters, stack.counters);
  const onLazyFailure = (): number => counters.lazyFailures++;
  const snapshotter = new Snapshotter({ store, directories, calls, log, lazy: stack.layers, overlayOptions, onLazyFailure });
  const opened = resources.move();
  return {
    services: [snapshotsService(snapshotter)],
    snapshotter,
    mode: stack.mode,
    isImageUsed: (reference) => store.hasImage(reference),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

function report({ mode }: LazyStack, log: Logger): void {
  if (mode.mode === 'plain') log.warn(mode, 'layers cannot be served lazily, images are pulled plainly');
  else log.info(mode, 'layers are served lazily');
}

function lazySnapshots(store: SqliteMetadataStore, directories: SnapshotDirectories): readonly LazySnapshot[] {
  return store
    .list()
    .filter(({ kind, labels }) => kind === 'committed' && isRemote(labels))
    .map((record) => ({ record, chain: store.ancestors(record.id), directory: directories.fsPathOf(record.id) }));
}
