import type { Labels, SnapshotRecord } from './snapshot.ts';

/** A snapshot whose layer is served while it is being fetched. */
export interface LazySnapshot {
  readonly record: SnapshotRecord;
  /** Ancestors, nearest first. */
  readonly chain: readonly SnapshotRecord[];
  /** The directory the layer is mounted on. */
  readonly directory: string;
}

export interface LazyRequest {
  readonly snapshotId: number;
  /** Chain id of the layer. */
  readonly target: string;
  /** The containerd namespace that pulls. */
  readonly namespace: string;
  readonly labels: Labels;
  /** Ancestors, nearest first; which of them are lazy is told by their labels. */
  readonly chain: readonly SnapshotRecord[];
  /** An empty directory to mount the layer on. */
  readonly directory: string;
}

export type LazyOutcome =
  | { readonly kind: 'lazy' /** Stored with the snapshot besides those of the request. */; readonly labels?: Labels }
  | {
      /** The container runtime shall pull the layer, and all later ones, itself; the directory is as it was. */
      readonly kind: 'declined';
      readonly cause: 'no-index' | 'disabled' | 'failed';
      /** One sentence for the log. */
      readonly reason: string;
      readonly error?: unknown;
      /** `warn` once an image, then `info`. */
      readonly level: 'info' | 'warn';
    };

/** Serves layers before they are fetched. The decision is one for a whole image: a mixed one makes containerd fetch all later layers. */
export interface LazyLayers {
  /**
   * Mounts the layer on `directory`, or declines. Never rejects because of a registry, an index or a layer: that is a reason to decline.
   * @throws the signal's reason, with nothing left mounted
   */
  prepare(request: LazyRequest, signal: AbortSignal): Promise<LazyOutcome>;

  /** Takes the layer's mount away; the layer itself goes with its last snapshot. An unknown id, or one that is not mounted, is no error. */
  remove(snapshotId: number): Promise<void>;

  /** A snapshot has gone from the records. With the last one of an image its layers are not read through it any more. */
  forgotten(record: SnapshotRecord): void;

  /** Deletes layers that were prepared and that no snapshot has come to use in the meantime. */
  cleanup(signal: AbortSignal): Promise<void>;

  /** Makes sure that the layer is mounted, and tries to mount it if not. @throws when it cannot be */
  ensureMounted(snapshot: LazySnapshot, signal: AbortSignal): Promise<void>;
}
