/** What a snapshotter shows of itself. Its package may not import this one: it has an object of this shape. */
export interface SnapshotterView {
  /** From memory, at once. */
  state(): SnapshotterState;
  /**
   * Reads through the FUSE mount something that the kernel cannot have in its cache, in a thread that may block; resolves when the right answer came.
   * Never called in mode `plain`, nor while an earlier call has not come back.
   */
  probe(signal: AbortSignal): Promise<void>;
}

export interface SnapshotterState {
  /** Undefined until the kernel was tried out. */
  readonly mode: ServingMode | undefined;
  readonly restore: RestoreState;
  readonly layers: LayerCounts;
  /** Reads that wait for bytes now. */
  readonly readsWaiting: number;
  /** Reads answered with EIO since the start, by reason. */
  readonly readsFailed: Readonly<Record<string, number>>;
  /** Undefined where no keeper is. */
  readonly restarts: Restarts | undefined;
}

export interface ServingMode {
  /** `erofs`: layers are served lazily. `plain`: images are pulled plainly. */
  readonly mode: string;
  /** Why it is that one. */
  readonly reason: string;
  /** How reads that nobody has answered come to the next process: `resend`, `journal`; empty: they do not. */
  readonly continuity: string;
}

export interface RestoreState {
  readonly phase: 'waiting' | 'running' | 'finished';
  /** Lazy snapshots that there are to restore. */
  readonly total: number;
  readonly restored: number;
  /** They are tried again on use. */
  readonly notRestored: readonly NotRestored[];
}

export interface NotRestored {
  /** containerd's name of the snapshot. */
  readonly key: string;
  readonly layerDigest: string;
  readonly reason: string;
}

export interface LayerCounts {
  /** In use by a snapshot. */
  readonly used: number;
  /** Of these, served through FUSE. */
  readonly served: number;
  /** Of these, with all bytes on disk. */
  readonly complete: number;
  /** Slots of the FUSE mount that were given away; none is given twice. */
  readonly slots: number;
}

export interface Restarts {
  /** Services that the keeper started after one that had ended. */
  readonly count: number;
  /** How the last one ended; empty where it is not known. */
  readonly lastEnd: string;
  /** Requests that were read by an earlier process and answered by this one. */
  readonly requestsResumed: number;
}
