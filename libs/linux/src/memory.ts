import koffi from 'koffi';
import { LinuxError } from './linux-error.ts';

const libc = koffi.load(null);
const nativeMemfdCreate = libc.func('int memfd_create(const char *name, unsigned int flags)') as (name: string, flags: number) => number;
const nativeFtruncate = libc.func('int ftruncate(int fd, int64_t size)') as (fd: number, size: number) => number;
const nativeFcntl = libc.func('int fcntl(int fd, int command, int argument)') as (fd: number, command: number, argument: number) => number;
const nativeMmap = libc.func('void *mmap(void *at, size_t size, int protection, int flags, int fd, int64_t offset)') as (
  at: null,
  size: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
) => unknown;
const nativeClose = libc.func('int close(int fd)') as (fd: number) => number;

const MFD_CLOEXEC = 0x1;
const MFD_ALLOW_SEALING = 0x2;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const F_SEAL_SEAL = 0x1;
const F_SEAL_SHRINK = 0x2;
const F_SEAL_GROW = 0x4;
const SIZE_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW;
const PROT_READ_WRITE = 0x1 | 0x2;
const MAP_SHARED = 0x1;
const MAP_POPULATE = 0x8000;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

/**
 * Memory behind a descriptor (memfd): it lives for as long as some process has the descriptor. Zeros at first; its size is sealed, so that no holder can
 * cut it off under another one that has it mapped.
 *
 * @param name for /proc/<pid>/maps alone
 * @returns a descriptor that programs started from here do not inherit by themselves
 * @throws {LinuxError} the errno
 */
export function createMemory(name: string, sizeBytes: number): number {
  const fd = nativeMemfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) throw LinuxError.fromErrno(koffi.errno(), `memfd ${name}`);
  if (nativeFtruncate(fd, sizeBytes) === 0 && nativeFcntl(fd, F_ADD_SEALS, SIZE_SEALS) === 0) return fd;
  const errno = koffi.errno();
  nativeClose(fd);
  throw LinuxError.fromErrno(errno, `memfd ${name}: ${sizeBytes} bytes`);
}

/** Whether a descriptor is memory whose size nobody can change any more. */
export function isSealedMemory(fd: number): boolean {
  const seals = nativeFcntl(fd, F_GET_SEALS, 0);
  return seals >= 0 && (seals & SIZE_SEALS) === SIZE_SEALS;
}

export interface MapOptions {
  readonly offsetBytes?: number;
  /** Allocates all of it now. Left out, a page takes memory when it is first touched. */
  readonly isPopulated?: boolean;
}

/**
 * Maps memory of `createMemory` into this process, for good: there is no way to take it away again under JavaScript that may still look at it.
 * Each thread maps the descriptor for itself; what one writes, the others see. `Atomics` work on it.
 *
 * @throws {LinuxError} `EINVAL` for a descriptor whose size is not sealed (an access past the end of a file kills the process); the errno of mmap(2)
 */
export function mapMemory(fd: number, sizeBytes: number, { offsetBytes = 0, isPopulated = false }: MapOptions = {}): ArrayBuffer {
  if (!isSealedMemory(fd)) throw new LinuxError('EINVAL', `map descriptor ${fd}: not memory of a sealed size`);
  const flags = MAP_SHARED | (isPopulated ? MAP_POPULATE : 0);
  const at = nativeMmap(null, sizeBytes, PROT_READ_WRITE, flags, fd, offsetBytes);
  if (at === null || koffi.address(at) === MAP_FAILED) throw LinuxError.fromErrno(koffi.errno(), `map descriptor ${fd}`);
  return koffi.view(at, sizeBytes);
}
