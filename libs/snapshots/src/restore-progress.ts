/** A lazy snapshot that could not be mounted again; it is tried again when it is used. */
export interface NotRestored {
  /** containerd's name of it. */
  readonly key: string;
  readonly layerDigest: string;
  readonly reason: string;
}

export interface RestoreState {
  readonly phase: 'waiting' | 'running' | 'finished';
  /** Lazy snapshots that there were to restore. */
  readonly total: number;
  readonly restored: number;
  readonly notRestored: readonly NotRestored[];
}

/** How far the lazy snapshots that were there at the start have come back. */
export class RestoreProgress {
  readonly #pending = new Set<number>();
  readonly #failed = new Map<number, NotRestored>();
  #phase: RestoreState['phase'] = 'waiting';
  #total = 0;

  begin(snapshotIds: Iterable<number>): void {
    for (const id of snapshotIds) this.#pending.add(id);
    this.#total = this.#pending.size;
    this.#phase = 'running';
  }

  /** It is mounted, or it was removed. */
  done(snapshotId: number): void {
    this.#pending.delete(snapshotId);
    this.#failed.delete(snapshotId);
  }

  failed(snapshotId: number, failure: NotRestored): void {
    if (this.#pending.delete(snapshotId)) this.#failed.set(snapshotId, failure);
  }

  finish(): void {
    this.#phase = 'finished';
  }

  state(): RestoreState {
    const restored = this.#total - this.#pending.size - this.#failed.size;
    return { phase: this.#phase, total: this.#total, restored, notRestored: [...this.#failed.values()] };
  }
}
