import koffi from 'koffi';
import { LinuxError } from './linux-error.ts';

const libc = koffi.load(null);
const nativeSocket = libc.func('int socket(int domain, int type, int protocol)') as (
  domain: number,
  type: number,
  protocol: number,
) => number;
const nativeSendTo = libc.func('int64_t sendto(int fd, void *data, size_t size, int flags, void *address, uint32_t addressSize)') as (
  fd: number,
  data: Uint8Array,
  size: number,
  flags: number,
  address: Uint8Array,
  addressSize: number,
) => number;
const nativeClose = libc.func('int close(int fd)') as (fd: number) => number;

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
/** The answer of a full queue is better than a wait. */
const MSG_DONTWAIT = 0x40;
const MAX_PATH_BYTES = 107;

/**
 * Tells systemd how the service is doing, as sd_notify(3) does: `READY=1`, `STOPPING=1`. Without `NOTIFY_SOCKET` there is nobody to tell.
 * Node has no datagram sockets of this family, hence the system's own calls; they do not block.
 * @throws {LinuxError} the errno of socket(2) or sendto(2); `EINVAL` for an address that cannot be one
 * @see https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
 */
export function notifySystemd(environment: Readonly<Record<string, string | undefined>>, state: string): void {
  const path = environment['NOTIFY_SOCKET'];
  if (path === undefined || path === '') return;
  const name = Buffer.from(path);
  if (name.length > MAX_PATH_BYTES || !/^[/@]/.test(path)) throw new LinuxError('EINVAL', 'NOTIFY_SOCKET is no socket address');
  if (path.startsWith('@')) name[0] = 0; // the abstract name space
  const address = new Uint8Array(2 + name.length + (path.startsWith('@') ? 0 : 1));
  address[0] = AF_UNIX;
  address.set(name, 2);
  const fd = nativeSocket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) throw LinuxError.fromErrno(koffi.errno(), 'socket for NOTIFY_SOCKET');
  const data = Buffer.from(state);
  const sent = nativeSendTo(fd, data, data.length, MSG_DONTWAIT, address, address.length);
  const errno = koffi.errno();
  nativeClose(fd);
  if (sent < 0) throw LinuxError.fromErrno(errno, `send ${state} to NOTIFY_SOCKET`);
}
