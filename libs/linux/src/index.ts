export type { DiskUsage } from './disk-usage.ts';
export {
  dropPageCache,
  exitNow,
  MOUNT_FLAGS,
  mountNow,
  type MountRequest,
  punchHole,
  rawPread,
  rawRead,
  rawWrite,
  trimMemory,
  UMOUNT_FLAGS,
  umountNow,
} from './libc.ts';
export { errnoName, LinuxError, type LinuxErrorCode } from './linux-error.ts';
export { createMemory, isSealedMemory, mapMemory, type MapOptions } from './memory.ts';
export { findMount, type MountInfo, mountsUnder, parseMountInfo, readMountInfo } from './mountinfo.ts';
export type { FilesystemStat, FileStat } from './operations.ts';
export { removeTreeNow } from './remove-tree.ts';
export { notifySystemd, type Speaker } from './notify-systemd.ts';
export { setReadAhead } from './read-ahead.ts';
export { type CallOptions, SyscallThread } from './syscall-thread.ts';
export { Syscalls } from './syscalls.ts';
