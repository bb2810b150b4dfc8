import { lchownSync, lstatSync, mkdirSync, statfsSync, statSync, type Stats } from 'node:fs';
import { isNotFound } from '@soci/errors';
import { diskUsageNow } from './disk-usage.ts';
import { MOUNT_FLAGS, mountNow, umountNow } from './libc.ts';
import { readMountsNaming } from './mountinfo.ts';
import { removeTreeNow } from './remove-tree.ts';

/** What is told about a file. */
export interface FileStat {
  /** Type and permissions, as st_mode has them. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly device: number;
  readonly inode: bigint;
  readonly isDirectory: boolean;
}

export interface FilesystemStat {
  /** The magic number: 0xef53 ext2-4, 0x65735546 FUSE, 0xe0f5e1e2 EROFS, 0x794c7630 overlay. */
  readonly type: number;
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** Everything a syscall thread can be asked for; each blocks the thread that runs it, and throws what the kernel answered. */
export const OPERATIONS = {
  mount: mountNow,
  umount: umountNow,
  bindMount: (source: string, target: string, readOnly: boolean): void => {
    mountNow({ source, target, flags: MOUNT_FLAGS.bind });
    if (!readOnly) return;
    try {
      mountNow({ source, target, flags: MOUNT_FLAGS.bind | MOUNT_FLAGS.remount | MOUNT_FLAGS.readOnly }); // the first call ignores it
    } catch (error) {
      umountNow(target);
      throw error;
    }
  },
  mountsNaming: readMountsNaming,
  diskUsage: diskUsageNow,
  removeTree: removeTreeNow,
  pathExists: (path: string): boolean => {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  },
  stat: (path: string): FileStat | undefined => {
    return ifThere(() => toFileStat(statSync(path), statSync(path, { bigint: true }).ino));
  },
  lstat: (path: string): FileStat | undefined => {
    return ifThere(() => toFileStat(lstatSync(path), lstatSync(path, { bigint: true }).ino));
  },
  statfs: (path: string): FilesystemStat => {
    const { type, bsize, bavail, blocks } = statfsSync(path);
    return { type, freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  },
  lchown: lchownSync as (path: string, uid: number, gid: number) => void,
  makeDirectory: (path: string, mode: number): void => {
    mkdirSync(path, { recursive: true, mode });
  },
} as const;

export type Operations = typeof OPERATIONS;
export type OperationName = keyof Operations;
export type OperationArguments<N extends OperationName> = Parameters<Operations[N]>;
export type OperationResult<N extends OperationName> = ReturnType<Operations[N]>;

function toFileStat(stat: Stats, inode: bigint): FileStat {
  const { mode, uid, gid, size, dev } = stat;
  return { mode, uid, gid, sizeBytes: size, device: dev, inode, isDirectory: stat.isDirectory() };
}

function ifThere<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
