export { createSnapshotter, type CreateSnapshotterOptions, type RunningSnapshotter } from './create-snapshotter.ts';
export { SnapshotError, type SnapshotErrorCode } from './errors.ts';
export type { ImageSource } from './image-planner.ts';
export { LABEL } from './labels.ts';
export type { LazyMode } from './lazy-stack.ts';
export type { Labels, Mount, SnapshotInfo, SnapshotKind, Usage } from './snapshot.ts';
export { Snapshotter, type SnapshotRequest } from './snapshotter.ts';
export { serveSnapshotter, type ServeSnapshotterOptions } from './serve-snapshotter.ts';
