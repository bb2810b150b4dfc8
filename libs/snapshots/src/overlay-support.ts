import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Syscalls } from '@soci/linux';
import { SnapshotError } from './errors.ts';

/**
 * Mounts an overlay of two lower directories below `root`, and takes it away again.
 * @throws {SnapshotError} `FAILED_PRECONDITION` when the kernel refuses: no container could have a root file system there
 */
export async function assertOverlaySupported(root: string, calls: Pick<Syscalls, 'mount' | 'umount'>): Promise<void> {
  const folder = await mkdtemp(join(root, 'overlay-check-'));
  const at = (name: string): string => join(folder, name);
  try {
    await Promise.all(['lower1', 'lower2', 'upper', 'work', 'merged'].map((name) => mkdir(at(name))));
    const data = `lowerdir=${at('lower2')}:${at('lower1')},upperdir=${at('upper')},workdir=${at('work')}`;
    await calls.mount({ source: 'overlay', target: at('merged'), type: 'overlay', data });
    await calls.umount(at('merged'));
  } catch (cause) {
    throw new SnapshotError('FAILED_PRECONDITION', `overlayfs cannot be used below ${root}`, { cause });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
