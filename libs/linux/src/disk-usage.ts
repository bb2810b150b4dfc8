import { lstatSync, readdirSync } from 'node:fs';
import { isNotFound } from '@soci/errors';
import { mountsUnder, readMountInfo } from './mountinfo.ts';

/** What a directory tree takes on disk. */
export interface DiskUsage {
  /** Allocated blocks of every distinct inode, the directory's own included. */
  readonly sizeBytes: number;
  readonly inodes: number;
}

const BLOCK_BYTES = 512; // the unit of st_blocks, whatever the filesystem's block size

/**
 * Counts a tree as containerd does: each inode once, allocated blocks instead of sizes. Does not go into other filesystems or mounts below `path`,
 * and takes a file that goes away meanwhile for not there. Blocks.
 *
 * @throws the error of lstat when `path` itself is missing
 */
export function diskUsageNow(path: string): DiskUsage {
  const top = lstatSync(path);
  const foreign = new Set(mountsUnder(path, readMountInfo()).map((mount) => mount.mountPoint));
  foreign.delete(path);
  const hardLinks = new Set<bigint>();
  let sizeBytes = top.blocks * BLOCK_BYTES;
  let inodes = 1;
  const pending: Buffer[] = top.isDirectory() ? [Buffer.from(path)] : [];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const name of ifThere(() => readdirSync(directory, { encoding: 'buffer' })) ?? []) {
      const child = joinBytes(directory, name);
      if (foreign.size > 0 && foreign.has(child.toString())) continue;
      const stat = ifThere(() => lstatSync(child));
      if (stat === undefined || stat.dev !== top.dev) continue;
      if (stat.nlink > 1 && !stat.isDirectory() && isCounted(child, hardLinks)) continue;
      sizeBytes += stat.blocks * BLOCK_BYTES;
      inodes++;
      if (stat.isDirectory()) pending.push(child);
    }
  }
  return { sizeBytes, inodes };
}

/** An inode number may pass 2^53, where two of them become one number. */
function isCounted(path: Buffer, seen: Set<bigint>): boolean {
  const inode = ifThere(() => lstatSync(path, { bigint: true }))?.ino;
  if (inode === undefined || seen.has(inode)) return true;
  seen.add(inode);
  return false;
}

function joinBytes(directory: Buffer, name: Buffer): Buffer {
  return Buffer.concat([directory, Buffer.from('/'), name]);
}

function ifThere<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
