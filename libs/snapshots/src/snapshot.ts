/** `view` and `active` can be mounted; only `committed` can be a parent. */
export type SnapshotKind = 'view' | 'active' | 'committed';

export type Labels = Readonly<Record<string, string>>;

/** What containerd knows of a snapshot. */
export interface SnapshotInfo {
  /** The key of an active snapshot or view, the name of a committed one. */
  readonly name: string;
  /** Name of the parent; empty when there is none. */
  readonly parent: string;
  readonly kind: SnapshotKind;
  readonly labels: Labels;
  /** Nanoseconds since 1970. */
  readonly createdNs: bigint;
  readonly updatedNs: bigint;
}

/** Disk taken by a snapshot of its own, without its parents. */
export interface Usage {
  readonly sizeBytes: number;
  readonly inodes: number;
}

export const NO_USAGE: Usage = { sizeBytes: 0, inodes: 0 };

/** A snapshot with what only we know of it. */
export interface SnapshotRecord extends SnapshotInfo {
  /** Names the directory `snapshots/<id>`; from 1 upwards, never used twice. */
  readonly id: number;
  /** Measured at commit; zero for the other kinds. */
  readonly usage: Usage;
}

/** A mount as containerd carries it out. */
export interface Mount {
  readonly type: 'bind' | 'overlay';
  readonly source: string;
  readonly options: readonly string[];
}
