import { readFile } from 'node:fs/promises';
import { hasCode } from '@soci/errors';
import { findMount, MOUNT_FLAGS, UMOUNT_FLAGS, type MountInfo, type Syscalls } from '@soci/linux';
import type { Logger } from '@soci/log';
import { SnapshotError } from './errors.ts';

/** What a layer is mounted from: its names, and the bytes of its files. */
export interface MountSource {
  readonly namesPath: string;
  readonly bytesPath: string;
  /** `files`: needs nobody to serve it. `fuse`: read through the FUSE mount of this process. */
  readonly kind: 'files' | 'fuse';
}

export type MountCalls = Pick<Syscalls, 'mount' | 'umount' | 'bindMount' | 'mountsNaming'>;

/** A mount may read a few blocks through FUSE; the registry is not involved. */
const MOUNT_DEADLINE_MS = 10_000;
/** Names images are some megabytes; a larger one is not read beforehand. */
const MAX_PREREAD_BYTES = 64 << 20;

/** Mounts layers on snapshots' directories and takes them away again. Mounts cannot be called off: they are over in a moment, or have their deadline. */
export class LayerMounts {
  readonly #calls: MountCalls;
  readonly #log: Logger;

  constructor(calls: MountCalls, log: Logger) {
    this.#calls = calls;
    this.#log = log;
  }

  /** @throws {LinuxError} the errno of mount(2) */
  async mount(directory: string, { namesPath, bytesPath, kind }: MountSource, namesSizeBytes: number): Promise<void> {
    if (bytesPath.includes(',')) throw new SnapshotError('INVALID_ARGUMENT', `${bytesPath}: a comma cannot stand in a mount option`);
    // ext4 warns (once, without harm) when EROFS reads a page of its image that is not in memory.
    if (kind === 'files' && namesSizeBytes <= MAX_PREREAD_BYTES) await readFile(namesPath);
    await this.#calls.mount(
      { source: namesPath, target: directory, type: 'erofs', flags: MOUNT_FLAGS.readOnly, data: `device=${bytesPath}` },
      { deadlineMs: MOUNT_DEADLINE_MS },
    );
  }

  /** Shows what is mounted on one directory on another one too: one mount of a layer is one copy in the page cache. */
  async bind(from: string, to: string): Promise<void> {
    await this.#calls.bindMount(from, to, { deadlineMs: MOUNT_DEADLINE_MS });
  }

  async isMounted(directory: string): Promise<boolean> {
    const mounts = await this.#calls.mountsNaming(directory);
    return findMount(directory, mounts)?.type === 'erofs';
  }

  /** Takes away everything mounted on a directory; what is in use goes when its user does. */
  async unmount(directory: string): Promise<void> {
    for (;;) {
      try {
        await this.#calls.umount(directory, UMOUNT_FLAGS.noFollow);
      } catch (cause) {
        if (hasCode(cause, 'EINVAL', 'ENOENT')) return; // nothing is mounted there
        if (!hasCode(cause, 'EBUSY', 'DEADLINE_EXCEEDED')) throw cause;
        await this.#calls.umount(directory, UMOUNT_FLAGS.detach | UMOUNT_FLAGS.noFollow);
      }
    }
  }

  /** Mounts at a directory and below it, in the order in which they were made. */
  async below(directory: string): Promise<readonly MountInfo[]> {
    const naming = await this.#calls.mountsNaming(directory);
    return naming.filter(({ mountPoint }) => mountPoint === directory || mountPoint.startsWith(`${directory}/`));
  }

  /** Takes mounts of an earlier process away, without waiting for their users. */
  async clear(mounts: readonly MountInfo[]): Promise<void> {
    for (const { mountPoint } of mounts.toReversed()) {
      try {
        await this.#calls.umount(mountPoint, UMOUNT_FLAGS.detach | UMOUNT_FLAGS.noFollow);
      } catch (error) {
        if (!hasCode(error, 'EINVAL', 'ENOENT')) this.#log.warn({ mountPoint, error }, 'mount of an earlier process not taken away');
      }
    }
  }
}
