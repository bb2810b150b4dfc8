import type { Trouble } from './recent-troubles.ts';
import type { NotRestored, SnapshotterState } from './snapshotter-view.ts';

/** What runs, and how it is doing. It holds no secret. */
export interface StatusReport {
  /** As in ps: `soci-snapshotter-grpc`. */
  readonly service: string;
  readonly version: string;
  readonly revision: string;
  readonly pid: number;
  readonly uptimeMs: number;
  /** Of Node. */
  readonly runtime: string;
  /** As uname tells it. */
  readonly kernel: string;
  /** State folder. */
  readonly root: string;
  readonly configPath: string;
  readonly sockets: readonly SocketReport[];
  /** Undefined in a service that serves no layers, and until its snapshotter is opened. */
  readonly snapshotter: SnapshotterReport | undefined;
  /** In the order in which they are asked. */
  readonly credentialSources: readonly SourceCondition[];
  /** Newest first. */
  readonly troubles: readonly Trouble[];
}

export interface SocketReport {
  /** `containerd`, `admin`, `metrics` */
  readonly name: string;
  /** Path, or host and port. */
  readonly address: string;
}

export interface SnapshotterReport extends Omit<SnapshotterState, 'restore'> {
  readonly restore: Omit<SnapshotterState['restore'], 'notRestored'> & {
    readonly notRestoredCount: number;
    /** Some of them. */
    readonly notRestored: readonly NotRestored[];
  };
}

/** Whether a credential source can be asked. */
export interface SourceCondition {
  /** `docker-config`, `cri`, `kubernetes-secrets`, `credential-plugins` */
  readonly name: string;
  readonly state: 'ready' | 'not-ready' | 'failed' | 'off';
  /** Why it is in this state; may be empty for a ready one. */
  readonly reason: string;
}
