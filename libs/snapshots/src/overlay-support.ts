import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from '@soci/errors';
import { UMOUNT_FLAGS, type Syscalls } from '@soci/linux';
import type { Logger } from '@soci/log';
import { SnapshotError } from './errors.ts';

const PREFIX = 'overlay-check-';

/**
 * Mounts an overlay of two lower directories below `root`, and takes it away again.
 * @throws {SnapshotError} `FAILED_PRECONDITION` when the kernel refuses: no container could have a root file system there
 */
export async function assertOverlaySupported(root: string, calls: Pick<Syscalls, 'mount' | 'umount'>): Promise<void> {
  const folder = await mkdtemp(join(root, PREFIX));
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

/** Takes away what a process left that was killed while it checked. */
export async function clearOverlayChecks(root: string, calls: Pick<Syscalls, 'umount' | 'removeTree'>, log: Logger): Promise<void> {
  for (const name of (await readdir(root)).filter((entry) => entry.startsWith(PREFIX))) {
    const folder = join(root, name);
    try {
      await calls.umount(join(folder, 'merged'), UMOUNT_FLAGS.detach | UMOUNT_FLAGS.noFollow).catch((error: unknown) => {
        if (!hasCode(error, 'EINVAL', 'ENOENT')) throw error; // it was not mounted
      });
      await calls.removeTree(folder);
    } catch (error) {
      log.warn({ path: folder, error }, 'leftover of a check not removed');
    }
  }
}
