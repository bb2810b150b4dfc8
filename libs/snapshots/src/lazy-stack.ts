import { join } from 'node:path';
import type { SnapshotterConfig } from '@soci/config';
import type { FuseState } from '@soci/fuse';
import type { InheritedFuse } from '@soci/fuse/launcher';
import { LayerPreparer, LayerStore, type KernelProbe } from '@soci/layer';
import type { Logger } from '@soci/log';
import type { DecisionStore } from './decision-store.ts';
import { ImageDecisions } from './image-decisions.ts';
import type { ImagePlanner } from './image-plan.ts';
import { LazyImagePlanner, type ImageSource } from './image-planner.ts';
import { LayerMounts, type MountCalls } from './layer-mounts.ts';
import { LazySnapshots } from './lazy-snapshots.ts';
import type { MetadataStore } from './metadata-store.ts';
import { Prefetch } from './prefetch.ts';
import { PullNamespaces } from './pull-namespaces.ts';
import type { RestoreProgress } from './restore-progress.ts';
import { ServedLayers } from './served-layers.ts';
import { startServing, type LazyMode, type StartedServing } from './start-serving.ts';
import type { SnapshotDirectories } from './snapshot-directories.ts';
import { StandingMounts } from './standing-mounts.ts';
import { UnusedArtifacts } from './unused-artifacts.ts';

export interface LazyStackOptions {
  /** The service's state root; `layers` and `fuse` below it are this stack's. */
  readonly root: string;
  /** The FUSE device as the keeper handed it over. */
  readonly fuse: InheritedFuse;
  /** Which mount of the device an earlier process has left. Left out where none can. */
  readonly fuseState?: FuseState | undefined;
  /** Whether the next process gets the device: then the mount is left to it. Asked when this ends. */
  readonly leavesMount?: (() => boolean) | undefined;
  readonly source: ImageSource;
  readonly config: SnapshotterConfig;
  readonly metadata: Pick<MetadataStore, 'updateLabels' | 'list' | 'hasImage' | 'getById'>;
  readonly directories: SnapshotDirectories;
  readonly decided: DecisionStore;
  readonly calls: MountCalls;
  readonly progress: RestoreProgress;
  readonly log: Logger;
  /** Layers can be served no more until a new process mounts them again. */
  readonly onBroken?: ((error: Error) => void) | undefined;
  /** A read that waited for bytes was answered. */
  readonly onWaited?: ((seconds: number) => void) | undefined;
  /** Whether the kernel serves layers rightly; tried out at every start at which no mount goes on. */
  readonly probe?: ((signal: AbortSignal) => Promise<Pick<KernelProbe, 'mode' | 'reason'>>) | undefined;
  /** See `LazyImagePlannerOptions`. */
  readonly notReadyWaitMs?: number;
}

/** Everything that serves layers lazily, put together. */
export interface LazyStack extends AsyncDisposable {
  readonly layers: LazySnapshots;
  readonly mode: LazyMode;
  readonly served: ServedLayers;
  /** Kubernetes namespaces that are noted with the layers of an image. */
  readonly namespacesOf: (reference: string) => readonly string[];
  /** Undefined in plain mode. */
  readonly engine: StartedServing['engine'];
  /** Requests that an earlier process had read and this one answers. */
  requestsResumed(): number;
  /** Mounts that an earlier process left. */
  readonly standing: number;
  /** Every mount that goes on is served: what is asked of others is refused from now on. */
  settle(): void;
}

/**
 * Opens the layers on disk and serves them through FUSE; where that cannot be, only layers that are complete can be used, and images are left to the runtime.
 * @throws when a mount of an earlier process is there and cannot be served: the next process may have more luck
 */
export async function openLazyStack(options: LazyStackOptions, signal: AbortSignal): Promise<LazyStack> {
  const { root, config, metadata, directories, decided, progress, calls, log } = options;
  await using resources = new AsyncDisposableStack();
  const store = resources.use(await LayerStore.open({ root: join(root, 'layers'), log }));
  await store.discardUnknown();
  const preparer = resources.use(new LayerPreparer({ store, log }));
  const mounts = new LayerMounts(calls, log);
  const started = await startServing(options, mounts, signal);
  const served = new ServedLayers({ store, preparer, serving: started.serving });
  resources.defer(() => served.close());
  const prefetch = config.prefetch.enable ? resources.use(new Prefetch({ source: options.source, served, log })) : undefined;
  resources.use(new PullNamespaces({ source: options.source, store, log }));
  const unused = resources.use(new UnusedArtifacts({ source: options.source, store, log }));
  resources.use(started.threads); // ended first: they read the files that are closed then
  const standing = await StandingMounts.read({ mounts, root, fuse: started.resumed }, directories.path);
  const planner = started.mode.mode === 'plain' ? plainPlanner(started.mode.reason) : lazyPlanner(options, store, preparer);
  const decisions = new ImageDecisions({ planner, timeoutMs: config.mountTimeoutSec * 1000, decided });
  const layers = new LazySnapshots({ decisions, served, mounts, store, metadata, directories, standing, progress, unused, log, prefetch });
  const opened = resources.move();
  return {
    layers,
    mode: started.mode,
    served,
    namespacesOf: (reference) => store.namespacesOf(reference),
    engine: started.engine,
    requestsResumed: () => started.requestsResumed(),
    standing: standing.count,
    settle: () => started.settle(),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

function lazyPlanner({ source, config, notReadyWaitMs }: LazyStackOptions, store: LayerStore, preparer: LayerPreparer): ImagePlanner {
  const { sociV1, sociV2 } = config.pullModes;
  const pullModes = { sociV1: sociV1.enable, sociV2: sociV2.enable };
  return new LazyImagePlanner({ source, store, preparer, pullModes, ...(notReadyWaitMs === undefined ? {} : { notReadyWaitMs }) });
}

function plainPlanner(reason: string): ImagePlanner {
  return { plan: () => Promise.resolve({ kind: 'declined', cause: 'disabled', reason }) };
}
