import { join } from 'node:path';
import type { LayerCounters } from '@soci/layer';
import { Syscalls } from '@soci/linux';
import { SnapshotError } from './errors.ts';
import type { LazyStack } from './lazy-stack.ts';
import type { LazyMode } from './start-serving.ts';
import type { RestoreProgress, RestoreState } from './restore-progress.ts';

export interface LayerNumbers {
  /** In use by a snapshot. */
  readonly used: number;
  /** Of these, served through FUSE. */
  readonly served: number;
  /** Of these, with all bytes on disk. */
  readonly complete: number;
  /** Slots of the FUSE mount that are given away. */
  readonly slots: number;
}

export interface Restarts {
  /** Services that the keeper started after one that had ended. */
  readonly count: number;
  /** How the last one ended; empty where it is not known. */
  readonly lastEnd: string;
  /** Requests that an earlier process had read and this one answered. */
  readonly requestsResumed: number;
}

/** How a snapshotter is doing. */
export interface SnapshotterState {
  /** Undefined until the kernel was tried out. */
  readonly mode: LazyMode | undefined;
  readonly restore: RestoreState;
  readonly layers: LayerNumbers;
  /** Reads that wait for bytes now. */
  readonly readsWaiting: number;
  /** Reads answered with EIO since the start, by reason. */
  readonly readsFailed: Readonly<Record<string, number>>;
  /** Undefined where no keeper is. */
  readonly restarts: Restarts | undefined;
}

export interface SnapshotterViewOptions {
  readonly root: string;
  readonly progress: RestoreProgress;
  readonly restarts: () => Pick<Restarts, 'count' | 'lastEnd'> | undefined;
}

const NO_LAYERS: LayerNumbers = { used: 0, served: 0, complete: 0, slots: 0 };
const PROBE_DEADLINE_MS = 2_000;

/** What a snapshotter shows of itself, from before its layers are open. */
export class SnapshotterView {
  readonly #options: SnapshotterViewOptions;
  /** Threads of their own: a mount that does not answer holds no other call up. Only while they are needed. */
  #calls: Syscalls | undefined;
  #stack: LazyStack | undefined;
  #probes = 0;

  constructor(options: SnapshotterViewOptions) {
    this.#options = options;
  }

  opened(stack: LazyStack): void {
    this.#stack = stack;
  }

  /** What the layer engine did; undefined where nothing is served lazily, and until it is. */
  get counters(): LayerCounters | undefined {
    return this.#stack?.engine?.counters;
  }

  /** From memory, at once. */
  state(): SnapshotterState {
    const { progress, restarts } = this.#options;
    const stack = this.#stack;
    const kept = restarts();
    return {
      mode: stack?.mode,
      restore: progress.state(),
      layers: stack?.served.counts() ?? NO_LAYERS,
      readsWaiting: stack?.engine?.readsWaiting ?? 0,
      readsFailed: stack?.engine?.counters.readsFailed ?? {},
      restarts: kept && { ...kept, requestsResumed: stack?.requestsResumed() ?? 0 },
    };
  }

  /**
   * Looks a name up through the FUSE mount that was never asked for: the kernel cannot know it, a serving thread has to answer.
   * @throws when no right answer came
   */
  async probe(signal: AbortSignal): Promise<void> {
    if ((this.#calls?.stuckThreads ?? 0) > 0)
      throw new SnapshotError('DEADLINE_EXCEEDED', 'an earlier look into the FUSE mount has not come back');
    const calls = new Syscalls();
    this.#calls = calls;
    try {
      const path = join(this.#options.root, 'fuse', `probe-${process.pid}-${this.#probes++}`);
      const found = await calls.lstat(path, { signal, deadlineMs: PROBE_DEADLINE_MS });
      if (found !== undefined) throw new SnapshotError('UNAVAILABLE', `${path}: there is no such file, and it was found`);
    } finally {
      if (calls.stuckThreads === 0) await calls[Symbol.asyncDispose]();
    }
  }
}
