import { once } from 'node:events';
import { chmod, lstat, mkdir, unlink } from 'node:fs/promises';
import { connect, createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { hasCode, isNotFound } from '@soci/errors';
import type { Address } from './address.ts';
import { RpcError } from './errors.ts';

const PROBE_TIMEOUT_MS = 1_000;
const DIRECTORY_MODE = 0o700;

export interface UnixListenOptions {
  /** Permission bits of the socket, e.g. 0o600; without it the umask decides. */
  readonly socketMode?: number | undefined;
}

/**
 * Opens a listening socket. A unix socket gets its parent directory (one level, 0700) when that is missing; a socket that nobody answers on any more is taken away first.
 * Nothing but a dead socket is ever removed.
 *
 * @throws {RpcError} `ADDRESS_IN_USE`, `LISTEN_FAILED`
 */
export async function listenUnix(path: string, onConnection: (socket: Socket) => void, { socketMode }: UnixListenOptions): Promise<Server> {
  await makeParent(path);
  await removeStaleSocket(path);
  const server = await listen({ path }, path, onConnection);
  if (socketMode !== undefined) await chmod(path, socketMode);
  return server;
}

/** @throws {RpcError} `ADDRESS_IN_USE`, `LISTEN_FAILED` */
export function listenTcp({ host, port }: Extract<Address, { kind: 'tcp' }>, onConnection: (socket: Socket) => void): Promise<Server> {
  return listen({ host, port }, `${host}:${port}`, onConnection);
}

/** Accepts on a socket that another process opened. @throws {RpcError} `LISTEN_FAILED` */
export function listenDescriptor(fd: number, onConnection: (socket: Socket) => void): Promise<Server> {
  return listen({ fd }, `fd ${fd}`, onConnection);
}

async function listen(where: ListenOptions & { fd?: number }, name: string, onConnection: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: false, noDelay: true }, onConnection);
  try {
    server.listen(where);
    await once(server, 'listening');
    return server;
  } catch (cause) {
    server.close();
    throw new RpcError(hasCode(cause, 'EADDRINUSE') ? 'ADDRESS_IN_USE' : 'LISTEN_FAILED', `listen on ${name}`, { cause });
  }
}

async function makeParent(path: string): Promise<void> {
  try {
    await mkdir(dirname(path), { mode: DIRECTORY_MODE });
  } catch (cause) {
    if (!hasCode(cause, 'EEXIST')) throw new RpcError('LISTEN_FAILED', `listen on ${path}: make ${dirname(path)}`, { cause });
  }
}

async function removeStaleSocket(path: string): Promise<void> {
  try {
    if (!(await lstat(path)).isSocket()) throw new RpcError('ADDRESS_IN_USE', `listen on ${path}: something that is not a socket is there`);
    if (await answers(path)) throw new RpcError('ADDRESS_IN_USE', `listen on ${path}: another process answers there`);
    await unlink(path);
  } catch (cause) {
    if (isNotFound(cause)) return;
    throw cause instanceof RpcError ? cause : new RpcError('LISTEN_FAILED', `listen on ${path}`, { cause });
  }
}

/** A full backlog (EAGAIN) and a probe without an answer count as a living listener: only a refusal says that there is none. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = connect({ path });
    const finish = (alive: boolean): void => {
      clearTimeout(timer);
      probe.destroy();
      resolve(alive);
    };
    const timer = setTimeout(() => finish(true), PROBE_TIMEOUT_MS);
    probe.once('connect', () => finish(true));
    probe.once('error', (cause) => {
      if (hasCode(cause, 'ECONNREFUSED', 'ENOENT')) finish(false);
      else if (hasCode(cause, 'EAGAIN', 'ENOTSOCK', 'EPROTOTYPE')) finish(true);
      else {
        clearTimeout(timer);
        reject(new RpcError('LISTEN_FAILED', `probe ${path}`, { cause }));
      }
    });
  });
}
