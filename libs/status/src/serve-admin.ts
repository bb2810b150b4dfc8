import { lstat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describeError, isNotFound } from '@soci/errors';
import type { Logger } from '@soci/log';
import { parseAddress, RpcError, serveGrpc, type GrpcServer } from '@soci/rpc';
import { StatusError } from './errors.ts';
import { statusService, type StatusServiceOptions } from './status-service.ts';

export interface ServeAdminOptions extends StatusServiceOptions {
  /** `[admin] address`: a path or `unix://path`; empty for no admin socket. */
  readonly address: string;
  readonly log: Logger;
}

/** Only the service's own user, mostly root, may connect: the kernel asks for write permission on the socket. */
const SOCKET_MODE = 0o600;
const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;
/** Nobody's work is lost by it. */
const GRACE_MS = 500;

/**
 * Serves what the running service tells about itself. A socket that cannot be opened (another service answers there, its folder is open to others) is a warning:
 * the snapshotter works without it.
 *
 * @returns undefined where there is none
 * @throws {RpcError} `ADDRESS_INVALID` for an address that is no path
 */
export async function serveAdmin({ address, log, ...options }: ServeAdminOptions): Promise<GrpcServer | undefined> {
  if (address === '') return undefined;
  const parsed = parseAddress(address);
  if (parsed.kind !== 'unix') throw new RpcError('ADDRESS_INVALID', `[admin] address ${address}: expected a path`);
  try {
    await checkFolder(parsed.path);
    const server = await serveGrpc({
      address,
      services: [statusService(options, parsed.path)],
      log,
      socketMode: SOCKET_MODE,
      graceMs: GRACE_MS,
    });
    log.debug({ address: server.address }, 'admin socket opened');
    return server;
  } catch (error) {
    if (!(error instanceof RpcError || error instanceof StatusError)) throw error;
    log.warn(
      { address, error: describeError(error) },
      'admin socket not available, `soci credentials` and `soci doctor` cannot ask this service',
    );
    return undefined;
  }
}

/** A folder that is not there yet is made by the server, for its user alone. */
async function checkFolder(path: string): Promise<void> {
  const folder = dirname(path);
  let stat;
  try {
    stat = await lstat(folder);
  } catch (cause) {
    if (isNotFound(cause)) return;
    throw new StatusError('SOCKET_UNTRUSTED', `folder ${folder}`, { cause });
  }
  if (!stat.isDirectory()) throw new StatusError('SOCKET_UNTRUSTED', `folder ${folder}: not a folder`);
  if (stat.uid !== 0 && stat.uid !== process.geteuid?.())
    throw new StatusError('SOCKET_UNTRUSTED', `folder ${folder} belongs to another user`);
  if ((stat.mode & WRITABLE_BY_OTHERS) !== 0 && (stat.mode & STICKY) === 0) {
    throw new StatusError('SOCKET_UNTRUSTED', `folder ${folder}: others can write it`);
  }
}
