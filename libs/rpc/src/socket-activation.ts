import { RpcError } from './errors.ts';

const FIRST_INHERITED_DESCRIPTOR = 3;

/**
 * The listening socket that systemd passed to this process, if it did.
 *
 * @param environment where `LISTEN_PID` and `LISTEN_FDS` are looked up
 * @param pid of this process: variables meant for another are ignored
 * @returns its descriptor
 * @throws {RpcError} `LISTEN_FAILED` when there is more than one
 * @see https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
 */
export function activatedSocket(environment: Readonly<Record<string, string | undefined>>, pid: number): number | undefined {
  const { LISTEN_PID: forPid, LISTEN_FDS: count } = environment;
  if (forPid !== String(pid) || count === undefined || !/^\d+$/.test(count)) return undefined;
  const sockets = Number(count);
  if (sockets > 1) throw new RpcError('LISTEN_FAILED', `socket activation: expected one socket, got ${sockets}`);
  return sockets === 1 ? FIRST_INHERITED_DESCRIPTOR : undefined;
}
