import type { SnapshotDirectories } from './snapshot-directories.ts';
import type { Mount } from './snapshot.ts';

export interface MountRequest {
  readonly id: number;
  readonly kind: 'active' | 'view';
  /** Ids of the ancestors, nearest first. */
  readonly parentIds: readonly number[];
}

/**
 * What containerd has to mount to see a snapshot: its own directory where it stands alone, its parent's where it only looks at that one,
 * otherwise an overlay. The options come in the order in which the Go snapshotter gives them.
 *
 * @param extraOptions at the end of an overlay's options, e.g. `userxattr`
 */
export function overlayMounts(
  directories: SnapshotDirectories,
  { id, kind, parentIds }: MountRequest,
  extraOptions: readonly string[],
): readonly Mount[] {
  const [parentId, ...others] = parentIds;
  if (parentId === undefined) return [bind(directories.fsPathOf(id), kind === 'active' ? 'rw' : 'ro')];
  if (kind === 'view' && others.length === 0) return [bind(directories.fsPathOf(parentId), 'ro')];
  const upper = kind === 'active' ? [`workdir=${directories.workPathOf(id)}`, `upperdir=${directories.fsPathOf(id)}`] : [];
  const lower = `lowerdir=${parentIds.map((parent) => directories.fsPathOf(parent)).join(':')}`;
  return [{ type: 'overlay', source: 'overlay', options: [...upper, lower, ...extraOptions] }];
}

function bind(source: string, access: 'rw' | 'ro'): Mount {
  return { type: 'bind', source, options: [access, 'rbind'] };
}
