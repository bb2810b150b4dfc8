import koffi from 'koffi';
import { LinuxError } from './linux-error.ts';

// The symbols of the process itself: whichever C library Node is linked against.
const libc = koffi.load(null);

const nativeMount = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
) as (source: string | null, target: string, type: string | null, flags: number, data: string | null) => number;
const nativeUmount2 = libc.func('int umount2(const char *target, int flags)') as (target: string, flags: number) => number;
const nativeTrim = optional('int malloc_trim(size_t pad)') as ((pad: number) => number) | undefined;
const nativeExit = libc.func('void _exit(int status)') as (status: number) => void;
const nativeFadvise = libc.func('int posix_fadvise(int fd, int64_t offset, int64_t size, int advice)') as (
  fd: number,
  offset: number,
  size: number,
  advice: number,
) => number;
const nativeFallocate = libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t size)') as (
  fd: number,
  mode: number,
  offset: number,
  size: number,
) => number;
const nativeRead = libc.func('int64_t read(int fd, void *into, size_t size)') as (fd: number, into: Uint8Array, size: number) => number;
const nativeWrite = libc.func('int64_t write(int fd, void *from, size_t size)') as (fd: number, from: Uint8Array, size: number) => number;
const nativePread = libc.func('int64_t pread(int fd, void *into, size_t size, int64_t offset)') as (
  fd: number,
  into: Uint8Array,
  size: number,
  offset: number,
) => number;

/** A function that not every C library has. */
function optional(prototype: string): unknown {
  try {
    return libc.func(prototype);
  } catch {
    return undefined;
  }
}

/** Gives memory that the C library keeps after it was freed back to the kernel; nothing where the library cannot (musl). */
export function trimMemory(): void {
  nativeTrim?.(0);
}

/** Flags of mount(2). */
export const MOUNT_FLAGS = {
  readOnly: 0x1,
  noSuid: 0x2,
  noDev: 0x4,
  noExec: 0x8,
  remount: 0x20,
  noAtime: 0x400,
  bind: 0x1000,
  recursive: 0x4000,
  private: 0x40000,
} as const;

/** Flags of umount2(2). */
export const UMOUNT_FLAGS = { force: 0x1, detach: 0x2, noFollow: 0x8 } as const;

/** Arguments of mount(2). */
export interface MountRequest {
  readonly source: string;
  readonly target: string;
  /** Left out for a bind mount or a remount. */
  readonly type?: string;
  /** `MOUNT_FLAGS` or-ed; 0 by default. */
  readonly flags?: number;
  /** Comma-separated options, below one page. */
  readonly data?: string;
}

const MAX_MOUNT_DATA_BYTES = 4095;
const FADV_DONTNEED = 4;
const FALLOC_FL_KEEP_SIZE = 0x1;
const FALLOC_FL_PUNCH_HOLE = 0x2;

/**
 * mount(2), in the calling thread: blocks for as long as the kernel does.
 *
 * @throws {LinuxError} with the errno; `E2BIG` when `data` does not fit the page the kernel copies (it would be cut without a word)
 */
export function mountNow({ source, target, type, flags = 0, data }: MountRequest): void {
  if (data !== undefined && Buffer.byteLength(data) > MAX_MOUNT_DATA_BYTES)
    throw new LinuxError('E2BIG', `mount ${source} on ${target}: options too long`);
  checkPaths(source, target, data ?? '');
  const result = nativeMount(source, target, type ?? null, flags, data ?? null);
  if (result !== 0) throw LinuxError.fromErrno(koffi.errno(), `mount ${source} on ${target}`);
}

/** umount2(2), in the calling thread. @throws {LinuxError} with the errno: `EINVAL` when nothing is mounted there, `EBUSY` when it is in use */
export function umountNow(target: string, flags = 0): void {
  checkPaths(target);
  if (nativeUmount2(target, flags) !== 0) throw LinuxError.fromErrno(koffi.errno(), `unmount ${target}`);
}

/** Ends the process at once, whatever its threads are blocked in: no exit handler runs, nothing is flushed. `process.exit` waits for threads that sit in a system call. */
export function exitNow(status: number): never {
  nativeExit(status);
  throw new LinuxError('THREAD_DIED', '_exit came back');
}

/** Gives back page cache of a file range. Advice only: dirty pages stay, and so does a page of which only a part is named. @returns whether the kernel took it */
export function dropPageCache(fd: number, offsetBytes: number, sizeBytes: number): boolean {
  return nativeFadvise(fd, offsetBytes, sizeBytes, FADV_DONTNEED) === 0;
}

/** Frees the blocks of a file range; it reads as zeros afterwards, and the size stays. @throws {LinuxError} with the errno: `EOPNOTSUPP` where the filesystem cannot */
export function punchHole(fd: number, offsetBytes: number, sizeBytes: number): void {
  if (nativeFallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offsetBytes, sizeBytes) !== 0) {
    throw LinuxError.fromErrno(koffi.errno(), `punch hole at ${offsetBytes}`);
  }
}

/** read(2) without an exception for the errors a device loop expects. @returns bytes read, or the negative errno */
export function rawRead(fd: number, into: Uint8Array): number {
  const got = nativeRead(fd, into, into.length);
  return got < 0 ? -koffi.errno() : got;
}

/** write(2) of the first `sizeBytes`. @returns bytes written, or the negative errno */
export function rawWrite(fd: number, from: Uint8Array, sizeBytes: number): number {
  const put = nativeWrite(fd, from, Math.min(sizeBytes, from.length));
  return put < 0 ? -koffi.errno() : put;
}

/** pread(2) into the start of `into`. @returns bytes read (short at the end of the file), or the negative errno */
export function rawPread(fd: number, into: Uint8Array, sizeBytes: number, offsetBytes: number): number {
  const got = nativePread(fd, into, Math.min(sizeBytes, into.length), offsetBytes);
  return got < 0 ? -koffi.errno() : got;
}

/** A NUL would end the string early and name another file. */
function checkPaths(...texts: readonly string[]): void {
  if (texts.some((text) => text.includes('\0'))) throw new LinuxError('EINVAL', 'NUL byte in a path or mount option');
}
