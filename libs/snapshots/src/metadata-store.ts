import type { Labels, SnapshotRecord, Usage } from './snapshot.ts';

export interface NewSnapshot {
  readonly key: string;
  readonly kind: 'active' | 'view';
  /** Name of a committed snapshot; empty for none. */
  readonly parent: string;
  readonly labels: Labels;
}

export interface CommitRequest {
  readonly key: string;
  readonly name: string;
  /** Replace the labels of the active snapshot; nothing is inherited. */
  readonly labels: Labels;
  readonly usage: Usage;
  /** Gives a parent to a snapshot that has none (containerd's rebase); empty leaves it as it is. */
  readonly parent: string;
}

/**
 * Which snapshots there are, after the rules of containerd's own store. Every call is one transaction.
 * Errors are {@link SnapshotError}s: `NOT_FOUND`, `ALREADY_EXISTS`, `FAILED_PRECONDITION`, `INVALID_ARGUMENT`.
 */
export interface MetadataStore extends Disposable {
  get(name: string): SnapshotRecord | undefined;
  getById(id: number): SnapshotRecord | undefined;

  /**
   * Adds an active snapshot or a view.
   * @param place called with the id before the record is made to last; what it throws undoes the record
   */
  create(snapshot: NewSnapshot, place: (id: number) => void): SnapshotRecord;

  /** Turns an active snapshot into a committed one of another name and the same id. */
  commit(request: CommitRequest): SnapshotRecord;

  /** @throws {SnapshotError} `FAILED_PRECONDITION` when another snapshot stands on it */
  remove(name: string): SnapshotRecord;

  /** Replaces the labels and the time of update. */
  updateLabels(name: string, change: (labels: Labels) => Labels): SnapshotRecord;

  /** All snapshots in the byte order of their names. */
  list(): readonly SnapshotRecord[];

  /** Whether a snapshot has this value for the label that names its image. */
  hasImage(reference: string): boolean;

  /** Ancestors, nearest first. */
  ancestors(id: number): readonly SnapshotRecord[];

  /** The ids in use. */
  ids(): ReadonlySet<number>;

  /** From now on no id up to this one is given out: a directory of that name may be left over. */
  reserveIds(upTo: number): void;

  /** Gives the disk back what is not needed any more. */
  compact(): void;
}
