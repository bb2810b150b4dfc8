import { writeFileSync } from 'node:fs';
import { LinuxError } from './linux-error.ts';
import { findMount, readMountInfo } from './mountinfo.ts';

/**
 * Sets how far the kernel reads ahead on one mounted filesystem. Touches procfs and sysfs alone.
 *
 * @throws {LinuxError} `ENOENT` when nothing is mounted there; the error of fs when sysfs is read-only
 */
export function setReadAhead(mountPoint: string, kib: number): void {
  const mount = findMount(mountPoint, readMountInfo());
  if (mount === undefined) throw new LinuxError('ENOENT', `read-ahead of ${mountPoint}: not a mount`);
  writeFileSync(`/sys/class/bdi/${mount.device}/read_ahead_kb`, `${kib}`);
}
