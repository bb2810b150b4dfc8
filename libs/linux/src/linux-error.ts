import { constants } from 'node:os';

/** `DEADLINE_EXCEEDED`: no answer in time. `THREADS_STUCK`: too many earlier calls never came back. `QUEUE_FULL`: too many calls wait. `THREAD_DIED`: the thread ended under the call. */
export type LinuxErrorCode =
  | keyof typeof constants.errno
  | 'UNKNOWN_ERRNO'
  | 'DEADLINE_EXCEEDED'
  | 'THREADS_STUCK'
  | 'QUEUE_FULL'
  | 'THREAD_DIED';

/** What the kernel, or the thread that asks it, answered. `code` is the errno's name where there is one. */
export class LinuxError extends Error {
  override readonly name = 'LinuxError';
  readonly code: LinuxErrorCode;
  /** The positive errno, or 0 when the kernel did not answer. */
  readonly errno: number;

  constructor(code: LinuxErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.errno = isErrnoName(code) ? constants.errno[code] : 0;
  }

  /** @param what the call and what it was about: `mount /a on /b` */
  static fromErrno(errno: number, what: string): LinuxError {
    const code = errnoName(errno);
    return new LinuxError(code, `${what}: ${code === 'UNKNOWN_ERRNO' ? `errno ${errno}` : code}`);
  }
}

const NAMES: ReadonlyMap<number, keyof typeof constants.errno> = new Map(
  Object.entries(constants.errno)
    .map(([name, errno]) => [errno, name as keyof typeof constants.errno] as const)
    .reverse(), // the first of two names for one number wins: EAGAIN, not EWOULDBLOCK
);

/** `ENOENT` for 2. */
export function errnoName(errno: number): keyof typeof constants.errno | 'UNKNOWN_ERRNO' {
  return NAMES.get(errno) ?? 'UNKNOWN_ERRNO';
}

function isErrnoName(code: string): code is keyof typeof constants.errno {
  return code in constants.errno;
}
