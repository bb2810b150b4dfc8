import koffi from 'koffi';
import { LinuxError } from './linux-error.ts';

const libc = koffi.load(null);
const nativeSocket = libc.func('int socket(int domain, int type, int protocol)') as (
  domain: number,
  type: number,
  protocol: number,
) => number;
const nativeSendMessage = libc.func('int64_t sendmsg(int fd, void *message, int flags)') as (
  fd: number,
  message: Uint8Array,
  flags: number,
) => number;
const nativeClose = libc.func('int close(int fd)') as (fd: number) => number;

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SCM_CREDENTIALS = 2;
/** The answer of a full queue is better than a wait. */
const MSG_DONTWAIT = 0x40;
const MAX_PATH_BYTES = 107;
const SCM_RIGHTS = 1;
const CONTROL_HEADER_BYTES = 16;
const MAX_DESCRIPTORS = 64;

/** Who says it. systemd listens to the main process of a unit alone, unless the unit has `NotifyAccess=all`; root may speak for another process. */
export interface Speaker {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Tells systemd how the service is doing, as sd_notify(3) does: `READY=1`, `STOPPING=1`. Without `NOTIFY_SOCKET` there is nobody to tell.
 * Node has no datagram sockets of this family, hence the system's own calls; they do not block.
 *
 * @param speaker in whose name, e.g. the keeper's when this is its child
 * @param descriptors sent along, at most `MAX_DESCRIPTORS`: those that `FDSTORE=1` is about
 * @throws {LinuxError} the errno of socket(2) or sendmsg(2), `EPERM` for a speaker that one may not speak for; `EINVAL` for an address that cannot be one
 * @see https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
 */
export function notifySystemd(
  environment: Readonly<Record<string, string | undefined>>,
  state: string,
  speaker: Speaker,
  descriptors: readonly number[] = [],
): void {
  const path = environment['NOTIFY_SOCKET'];
  if (path === undefined || path === '') return;
  const address = socketAddress(path);
  const data = pinned(Buffer.from(state));
  if (descriptors.length > MAX_DESCRIPTORS) throw new LinuxError('EINVAL', `${descriptors.length} descriptors for NOTIFY_SOCKET`);
  const control = Uint8Array.from([...rights(descriptors), ...credentials(speaker)]);
  // struct iovec, then struct msghdr, as 64-bit systems lay them out.
  const vector = new BigUint64Array([addressOf(data), BigInt(data.length)]);
  const message = new BigUint64Array([
    addressOf(address),
    BigInt(address.length),
    addressOf(vector),
    1n,
    addressOf(control),
    BigInt(control.length),
    0n,
  ]);
  const fd = nativeSocket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) throw LinuxError.fromErrno(koffi.errno(), 'socket for NOTIFY_SOCKET');
  const sent = nativeSendMessage(fd, new Uint8Array(message.buffer), MSG_DONTWAIT);
  const errno = koffi.errno();
  nativeClose(fd);
  if (sent < 0) throw LinuxError.fromErrno(errno, `send ${state} to NOTIFY_SOCKET`);
}

function socketAddress(path: string): Uint8Array {
  const name = Buffer.from(path);
  if (name.length > MAX_PATH_BYTES || !/^[/@]/.test(path)) throw new LinuxError('EINVAL', 'NOTIFY_SOCKET is no socket address');
  const isAbstract = path.startsWith('@');
  if (isAbstract) name[0] = 0;
  const address = new Uint8Array(2 + name.length + (isAbstract ? 0 : 1));
  address[0] = AF_UNIX;
  address.set(name, 2);
  return address;
}

/** One control message that holds descriptors; none without any. */
function rights(descriptors: readonly number[]): Uint8Array {
  if (descriptors.length === 0) return new Uint8Array();
  const sizeBytes = CONTROL_HEADER_BYTES + descriptors.length * 4;
  const control = new DataView(new ArrayBuffer(Math.ceil(sizeBytes / 8) * 8));
  control.setBigUint64(0, BigInt(sizeBytes), true);
  control.setInt32(8, SOL_SOCKET, true);
  control.setInt32(12, SCM_RIGHTS, true);
  for (const [index, fd] of descriptors.entries()) control.setInt32(CONTROL_HEADER_BYTES + index * 4, fd, true);
  return new Uint8Array(control.buffer);
}

/** One control message that holds a struct ucred. */
function credentials({ pid, uid, gid }: Speaker): Uint8Array {
  const control = new DataView(new ArrayBuffer(32));
  control.setBigUint64(0, 28n, true);
  control.setInt32(8, SOL_SOCKET, true);
  control.setInt32(12, SCM_CREDENTIALS, true);
  control.setInt32(16, pid, true);
  control.setUint32(20, uid, true);
  control.setUint32(24, gid, true);
  return new Uint8Array(control.buffer);
}

/** A copy with a buffer of its own, whose address does not move. */
function pinned(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes);
}

function addressOf({ buffer }: { readonly buffer: ArrayBufferLike }): bigint {
  return koffi.address(buffer);
}
