import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { SnapshotterConfig } from '@soci/config';
import { describeError } from '@soci/errors';
import { FlatFuse } from '@soci/fuse';
import type { InheritedFuse } from '@soci/fuse/launcher';
import {
  LayerEngine,
  LayerPreparer,
  LayerStore,
  probeKernel,
  type KernelProbe,
  type LayerCounters,
  type Miss,
  type ReplySink,
} from '@soci/layer';
import type { Logger } from '@soci/log';
import { SnapshotError } from './errors.ts';
import { ImageDecisions } from './image-decisions.ts';
import type { ImagePlanner } from './image-plan.ts';
import { LazyImagePlanner, type ImageSource } from './image-planner.ts';
import { LayerMounts, type MountCalls } from './layer-mounts.ts';
import { LazySnapshots } from './lazy-snapshots.ts';
import type { MetadataStore } from './metadata-store.ts';
import { Prefetch } from './prefetch.ts';
import { PullNamespaces } from './pull-namespaces.ts';
import { ServedLayers, type Serving } from './served-layers.ts';
import type { SnapshotDirectories } from './snapshot-directories.ts';

/** How layers are served: names by the kernel's EROFS, or not lazily at all. */
export type LazyMode = { readonly mode: 'erofs' } | { readonly mode: 'plain'; readonly reason: string };

export interface LazyStackOptions {
  /** The service's state root; `layers` and `fuse` below it are this stack's. */
  readonly root: string;
  /** The FUSE device as the launcher handed it over. */
  readonly fuse: InheritedFuse;
  readonly source: ImageSource;
  readonly config: SnapshotterConfig;
  readonly metadata: Pick<MetadataStore, 'updateLabels' | 'list' | 'hasImage'>;
  readonly directories: SnapshotDirectories;
  readonly calls: MountCalls;
  readonly log: Logger;
  /** Layers can be served no more until a new process mounts them again. */
  readonly onBroken?: ((error: Error) => void) | undefined;
  /** Whether the kernel serves layers rightly; tried out at every start. */
  readonly probe?: ((signal: AbortSignal) => Promise<Pick<KernelProbe, 'mode' | 'reason'>>) | undefined;
  /** See `LazyImagePlannerOptions`. */
  readonly notReadyWaitMs?: number;
}

/** Everything that serves layers lazily, put together. */
export interface LazyStack extends AsyncDisposable {
  readonly layers: LazySnapshots;
  readonly mode: LazyMode;
  /** Undefined in plain mode. */
  readonly counters: LayerCounters | undefined;
}

/** Opens the layers on disk and serves them through FUSE; where that cannot be, only layers that are complete can be used, and images are left to the runtime. */
export async function openLazyStack(options: LazyStackOptions, signal: AbortSignal): Promise<LazyStack> {
  const { root, config, metadata, directories, calls, log } = options;
  await using resources = new AsyncDisposableStack();
  const store = resources.use(await LayerStore.open({ root: join(root, 'layers'), log }));
  const preparer = resources.use(new LayerPreparer({ store, log }));
  const mounts = new LayerMounts(calls, log);
  const started = await startServing(options, mounts, signal);
  const served = new ServedLayers({ store, preparer, serving: started.serving });
  resources.defer(() => served.close());
  const prefetch = config.prefetch.enable ? resources.use(new Prefetch({ source: options.source, served, log })) : undefined;
  resources.use(new PullNamespaces({ source: options.source, store, log }));
  resources.use(started.threads); // ended first: they read the files that are closed then
  const planner = started.mode.mode === 'plain' ? plainPlanner(started.mode.reason) : lazyPlanner(options, store, preparer);
  const decisions = new ImageDecisions({ planner, timeoutMs: config.mountTimeoutSec * 1000 });
  const layers = new LazySnapshots({ decisions, served, mounts, store, metadata, directories, log, prefetch });
  const opened = resources.move();
  return { layers, mode: started.mode, counters: started.counters, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

interface Started {
  readonly threads: AsyncDisposableStack;
  readonly mode: LazyMode;
  readonly serving: Serving | undefined;
  readonly counters: LayerCounters | undefined;
}

async function startServing(options: LazyStackOptions, mounts: LayerMounts, signal: AbortSignal): Promise<Started> {
  const { root, fuse, source, config, log, onBroken } = options;
  const { probe = (aborted: AbortSignal) => probeKernel({ directory: root, log, signal: aborted }) } = options;
  const plain = (reason: string): Started => ({
    mode: { mode: 'plain', reason },
    serving: undefined,
    counters: undefined,
    threads: new AsyncDisposableStack(),
  });
  const mountPoint = join(root, 'fuse');
  await mounts.clear(mountPoint, () => false); // of an earlier process, whose threads are gone
  if (fuse.kind === 'none') return plain(fuse.reason);
  const { mode, reason } = await probe(signal);
  if (mode === 'none') return plain(reason);
  await mkdir(mountPoint, { recursive: true, mode: 0o700 });
  const replies: ReplySink = {
    reply: (low, high, data) => flat?.reply(low, high, data),
    replyError: (low, high, errno) => flat?.replyError(low, high, errno),
  };
  await using own = new AsyncDisposableStack();
  const engine = own.use(new LayerEngine({ source, replies, log, ...engineOptions(config) }));
  let flat: FlatFuse | undefined;
  try {
    const onEnded = (reason: string): void =>
      onBroken?.(new SnapshotError('UNAVAILABLE', `the FUSE mount is not served any more: ${reason}`));
    const onMiss = (miss: Miss): void => engine.onMiss(miss);
    flat = own.use(await FlatFuse.serve({ fd: fuse.fd, mountPoint, mounted: false, log, onMiss, onEnded }));
  } catch (error) {
    return plain(`FUSE cannot be mounted: ${describeError(error)}`);
  }
  return { mode: { mode: 'erofs' }, serving: { engine, fuse: flat }, counters: engine.counters, threads: own.move() };
}

function engineOptions({
  blob,
  backgroundFetch,
}: SnapshotterConfig): Pick<
  ConstructorParameters<typeof LayerEngine>[0],
  'readTimeoutMs' | 'maxSpanVerificationRetries' | 'backgroundFetch'
> {
  const { disable, silencePeriodMsec, fetchPeriodMsec, maxQueueSize, dropPolicy } = backgroundFetch;
  const fill = { silencePeriodMs: silencePeriodMsec, fetchPeriodMs: fetchPeriodMsec, maxQueueSize, dropPolicy };
  return {
    readTimeoutMs: blob.readTimeoutSec * 1000,
    maxSpanVerificationRetries: blob.maxSpanVerificationRetries,
    ...(disable ? {} : { backgroundFetch: fill }),
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
