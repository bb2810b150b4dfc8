import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { SnapshotterConfig } from '@soci/config';
import type { FuseState } from '@soci/fuse';
import type { InheritedFuse } from '@soci/fuse/launcher';
import { Syscalls } from '@soci/linux';
import type { Logger } from '@soci/log';
import type { Metrics } from '@soci/metrics';
import type { ServiceImplementation } from '@soci/rpc';
import { DecisionStore } from './decision-store.ts';
import type { ImageSource } from './image-planner.ts';
import { isRemote } from './labels.ts';
import { LateLayers } from './late-layers.ts';
import { openLazyStack, type LazyStack, type LazyStackOptions } from './lazy-stack.ts';
import { assertOverlaySupported, clearOverlayChecks } from './overlay-support.ts';
import { RestoreProgress } from './restore-progress.ts';
import { idOfDirectory, SnapshotDirectories } from './snapshot-directories.ts';
import type { SnapshotRecord } from './snapshot.ts';
import { readWaits, registerSnapshotterMetrics, type SnapshotterCounters } from './snapshotter-metrics.ts';
import { SnapshotterView, type SnapshotterViewOptions } from './snapshotter-view.ts';
import { snapshotsService } from './snapshots-service.ts';
import { Snapshotter } from './snapshotter.ts';
import { SqliteMetadataStore } from './sqlite-metadata-store.ts';
import type { LazyMode } from './start-serving.ts';
import { needsUserXattr } from './user-xattr.ts';

export interface CreateSnapshotterOptions {
  /** State root, e.g. `/var/lib/soci-snapshotter-grpc`; made when it is not there. */
  readonly root: string;
  readonly fuse: InheritedFuse;
  /** Which mount of the device an earlier process has left. Left out where none can: mounts then are made anew. */
  readonly fuseState?: FuseState | undefined;
  /** Whether the next process gets the device: then the mount is left to it. Asked at the end. */
  readonly leavesMount?: (() => boolean) | undefined;
  /** What the keeper knows. */
  readonly restarts?: SnapshotterViewOptions['restarts'];
  /** Who speaks to registries; disposed of by its owner, after this. */
  readonly fetcher: ImageSource;
  readonly config: SnapshotterConfig;
  readonly log: Logger;
  /** Where counts are shown. */
  readonly metrics?: Metrics;
  /** Called when layers can be served no more until a new process opens them again. */
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
  readonly view: SnapshotterView;
  /** Resolves when layers can be mounted, with how. @throws when they cannot be opened, after `onBroken` was told */
  readonly opened: Promise<LazyMode>;
  /** Resolves when everything that was mounted lazily is again, or was found not to be mountable. Never rejects. */
  readonly restored: Promise<void>;
  /** containerd can connect: for the metric of it. */
  noteServing(): void;
  /** Whether a snapshot belongs to an image that was pulled under this name. */
  isImageUsed(reference: string): boolean;
  /** Kubernetes namespaces whose pulls of an image are noted with its layers; none until those are open. */
  namespacesOf(reference: string): readonly string[];
}

/**
 * Opens the state of a snapshotter. It can be served at once: layers are opened and mounted again meanwhile, from what is on disk, and a call that needs one waits for that one.
 * @throws {SnapshotError} `STORE_BUSY` when another process has the root, `STORE_FOREIGN` when it belongs to another program,
 * `FAILED_PRECONDITION` when overlayfs does not work there
 */
export async function createSnapshotter(options: CreateSnapshotterOptions, signal: AbortSignal): Promise<RunningSnapshotter> {
  const { log, config, fuseState, restarts = () => undefined } = options;
  const root = join(options.root, 'snapshotter');
  await mkdir(root, { recursive: true, mode: 0o700 });
  await using resources = new AsyncDisposableStack();
  const calls = resources.use(new Syscalls());
  const store = resources.use(new SqliteMetadataStore({ path: join(root, 'metadata.db') }));
  const decided = resources.use(new DecisionStore({ path: join(root, 'decisions.db'), settings: JSON.stringify(config.pullModes), log }));
  const directories = await SnapshotDirectories.open(root);
  const progress = new RestoreProgress();
  const view = new SnapshotterView({ root: options.root, progress, restarts });
  const lifetime = new AbortController();
  const alive = AbortSignal.any([signal, lifetime.signal]);
  const records = lazySnapshots(store); // those of an earlier process: nobody is served yet
  const onWaited = options.metrics && readWaits(options.metrics);
  // First of all: readers may be waiting for the mount that goes on.
  const opening = openLazyStack(
    { ...options, onWaited, source: options.fetcher, metadata: store, decided, directories, calls, progress },
    alive,
  );
  resources.defer(async () => {
    lifetime.abort(new Error('the snapshotter stops'));
    await opening.then(
      (stack) => stack[Symbol.asyncDispose](),
      () => undefined, // told by `opened`
    );
  });
  const late = new LateLayers(opening.then(({ layers }) => layers));
  store.reserveIds(Math.max(0, ...(await directories.names()).map((name) => idOfDirectory(name) ?? 0)));
  await clearOverlayChecks(root, calls, log);
  if (config.skipCheckSnapshotterSupported) log.warn('not checked whether overlayfs can be used here');
  else if (fuseState?.sessionAt(join(options.root, 'fuse')) === undefined) await assertOverlaySupported(root, calls); // the process whose mount goes on has checked it
  const overlayOptions = (await needsUserXattr(root)) ? ['userxattr'] : [];
  const counters: SnapshotterCounters = { lazyFailures: 0 };
  const onLazyFailure = (): number => counters.lazyFailures++;
  const snapshotter = new Snapshotter({ store, directories, calls, log, lazy: late, overlayOptions, onLazyFailure });
  if (options.metrics !== undefined) registerSnapshotterMetrics(options.metrics, counters, view);
  let stackNow: LazyStack | undefined;
  const opened = opening.then((stack) => {
    stackNow = stack;
    view.opened(stack);
    report(stack, log);
    return stack.mode;
  });
  opened.catch((error: unknown) => {
    if (!alive.aborted) options.onBroken?.(error instanceof Error ? error : new Error(String(error)));
  });
  const restored = restore({ opening, records, snapshotter, view, counters, log }, alive);
  resources.defer(async () => {
    lifetime.abort(new Error('the snapshotter stops'));
    stackNow = undefined; // its tables are closed next
    await restored;
  });
  const all = resources.move();
  return {
    services: [snapshotsService(snapshotter)],
    snapshotter,
    view,
    opened,
    restored,
    noteServing: () => {
      counters.startSeconds = process.uptime();
    },
    isImageUsed: (reference) => store.hasImage(reference),
    namespacesOf: (reference) => stackNow?.namespacesOf(reference) ?? [],
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function report({ mode }: LazyStack, log: Logger): void {
  if (mode.mode === 'plain') log.warn(mode, 'layers cannot be served lazily, images are pulled plainly');
  else log.info(mode, 'layers are served lazily');
}

interface Restoring {
  readonly opening: Promise<LazyStack>;
  readonly records: readonly SnapshotRecord[];
  readonly snapshotter: Snapshotter;
  readonly view: SnapshotterView;
  readonly counters: SnapshotterCounters;
  readonly log: Logger;
}

/** Mounts what was mounted, and takes away what a process that was killed left half made. */
async function restore({ opening, records, snapshotter, view, counters, log }: Restoring, signal: AbortSignal): Promise<void> {
  try {
    const stack = await opening;
    const beginMs = performance.now();
    await stack.layers.restore(records, () => stack.settle(), signal);
    const durationMs = Math.round(performance.now() - beginMs);
    counters.restoreSeconds = durationMs / 1000;
    const { restore: found, restarts, layers } = view.state();
    if (records.length > 0 || (restarts?.count ?? 0) > 0) {
      const facts = { ...restarts, ...stack.mode, snapshots: found.total, notRestored: found.notRestored.length, ...layers, durationMs };
      log.info(facts, 'restored after a restart');
    }
    await snapshotter.cleanup(signal);
  } catch (error) {
    if (!signal.aborted) log.error({ error }, 'snapshots are not all restored');
  }
}

function lazySnapshots(store: SqliteMetadataStore): readonly SnapshotRecord[] {
  return store.list().filter(({ kind, labels }) => kind === 'committed' && isRemote(labels));
}
