import type { Progress } from '../demo/progress.ts';
import type { Report } from './report.ts';

/** What every section is given. */
export interface BenchContext {
  readonly report: Report;
  readonly progress: Progress;
  /** An empty folder, on a disk that overlayfs can stand on, removed by the caller once every mount below it is gone. */
  readonly scratch: string;
  /** How often each figure is taken; its median is reported. */
  readonly rounds: number;
  /** Programs of others to be measured beside ours, and with which containerd. */
  readonly peers: Peers;
}

export interface Peers {
  /** The Go tool's `soci`. */
  readonly soci?: string;
  /** The Go tool's `soci-snapshotter-grpc`. */
  readonly snapshotter?: string;
  /** Folder of containerd, ctr and the shim, instead of the installed ones. */
  readonly containerd?: string;
}
