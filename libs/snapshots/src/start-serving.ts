import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { SnapshotterConfig } from '@soci/config';
import { describeError } from '@soci/errors';
import { FlatFuse } from '@soci/fuse';
import { LayerEngine, probeKernel, type LayerEngineOptions, type Miss, type ReplySink } from '@soci/layer';
import { SnapshotError } from './errors.ts';
import type { LayerMounts } from './layer-mounts.ts';
import type { LazyStackOptions } from './lazy-stack.ts';
import type { Serving } from './served-layers.ts';

/** How layers are served: names by the kernel's EROFS, or not lazily at all; and why. */
export interface LazyMode {
  readonly mode: 'erofs' | 'plain';
  readonly reason: string;
  /** How reads that nobody has answered come to the next process: `resend`, `journal`; empty: they do not. */
  readonly continuity: 'resend' | 'journal' | '';
}

export interface StartedServing {
  readonly threads: AsyncDisposableStack;
  readonly mode: LazyMode;
  readonly serving: Serving | undefined;
  readonly engine: LayerEngine | undefined;
  /** The FUSE mount, when it is one of an earlier process that goes on. */
  readonly resumed: { readonly mountPoint: string; namesPath(slot: number): string } | undefined;
  /** Requests that an earlier process had taken and that came to this one. */
  requestsResumed(): number;
  settle(): void;
}

type Options = Pick<
  LazyStackOptions,
  'root' | 'fuse' | 'fuseState' | 'leavesMount' | 'source' | 'config' | 'log' | 'onBroken' | 'onWaited' | 'probe'
>;

/**
 * Starts to serve the FUSE mount: that of an earlier process goes on, without a question to the kernel, which was asked when it was made. Another one is made otherwise.
 * @throws when a mount of an earlier process is there and cannot be served
 */
export async function startServing(options: Options, mounts: LayerMounts, signal: AbortSignal): Promise<StartedServing> {
  const { root, fuse, fuseState, log } = options;
  const mountPoint = join(root, 'fuse');
  if (fuse.kind === 'none') {
    await mounts.clear(await mounts.below(mountPoint));
    return plain(fuse.reason);
  }
  if (fuseState?.sessionAt(mountPoint) !== undefined)
    return await serve(options, fuse.fd, mountPoint, 'a mount of an earlier process goes on');
  await mounts.clear(await mounts.below(mountPoint)); // of an earlier process, whose device is gone
  const { probe = (aborted: AbortSignal) => probeKernel({ directory: root, log, signal: aborted }) } = options;
  const { mode, reason } = await probe(signal);
  if (mode === 'none') return plain(reason);
  await mkdir(mountPoint, { recursive: true, mode: 0o700 });
  try {
    return await serve(options, fuse.fd, mountPoint, reason);
  } catch (error) {
    return plain(`FUSE cannot be mounted: ${describeError(error)}`);
  }
}

async function serve(options: Options, fd: number, mountPoint: string, reason: string): Promise<StartedServing> {
  const { source, config, log, onBroken, onWaited, fuseState, leavesMount } = options;
  const replies: ReplySink = {
    reply: (low, high, data) => answering.fuse?.reply(low, high, data),
    replyError: (low, high, errno) => answering.fuse?.replyError(low, high, errno),
  };
  const answering: { fuse?: FlatFuse } = {}; // the engine comes first: reads may wait for it already
  await using own = new AsyncDisposableStack();
  const engine = own.use(new LayerEngine({ source, replies, log, onWaited, ...engineOptions(config) }));
  const onEnded = (why: string): void => onBroken?.(new SnapshotError('UNAVAILABLE', `the FUSE mount is not served any more: ${why}`));
  const onMiss = (miss: Miss): void => engine.onMiss(miss);
  const served = await FlatFuse.serve({ fd, mountPoint, state: fuseState, log, onMiss, onEnded });
  answering.fuse = served;
  own.defer(() => (leavesMount?.() === true ? served.detach() : served[Symbol.asyncDispose]()));
  const continuity = fuseState === undefined ? '' : served.hasResend ? 'resend' : 'journal';
  return {
    mode: { mode: 'erofs', reason, continuity },
    serving: { engine, fuse: served },
    engine,
    resumed: served.isResumed ? { mountPoint, namesPath: (slot) => served.namesPath(slot) } : undefined,
    requestsResumed: () => served.resumedRequests,
    settle: () => served.settle(),
    threads: own.move(),
  };
}

function plain(reason: string): StartedServing {
  return {
    mode: { mode: 'plain', reason, continuity: '' },
    serving: undefined,
    engine: undefined,
    resumed: undefined,
    requestsResumed: () => 0,
    settle: () => undefined,
    threads: new AsyncDisposableStack(),
  };
}

function engineOptions({
  blob,
  backgroundFetch,
}: SnapshotterConfig): Pick<LayerEngineOptions, 'readTimeoutMs' | 'maxSpanVerificationRetries' | 'backgroundFetch'> {
  const { disable, silencePeriodMsec, fetchPeriodMsec, maxQueueSize, dropPolicy } = backgroundFetch;
  const fill = { silencePeriodMs: silencePeriodMsec, fetchPeriodMs: fetchPeriodMsec, maxQueueSize, dropPolicy };
  return {
    readTimeoutMs: blob.readTimeoutSec * 1000,
    maxSpanVerificationRetries: blob.maxSpanVerificationRetries,
    ...(disable ? {} : { backgroundFetch: fill }),
  };
}
