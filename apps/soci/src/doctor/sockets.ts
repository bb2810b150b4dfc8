import { lstat } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { describeError, hasCode, isNotFound } from '@soci/errors';
import { ok, problem, warning, type Check, type Verdict } from './check.ts';

const OTHERS_WRITE = 0o002;
const GROUP_WRITE = 0o020;
const STICKY = 0o1000;
const PERMISSIONS = 0o7777;

interface SocketRules {
  readonly path: string;
  /** Whether a group may connect. */
  readonly forGroup: boolean;
  readonly start: string;
}

/** The socket that containerd connects to. */
export const serviceSocket: Check = {
  name: 'socket',
  run: async (context, signal) =>
    socket({ path: stripScheme(await context.serviceAddress(signal)), forGroup: true, start: 'start soci-snapshotter-grpc' }, signal),
};

/** The socket that this command asks; root alone may. Where nobody answers, the check of the service says so. */
export const adminSocket: Check = {
  name: 'admin-socket',
  run: async (context, signal) => {
    const isAway = await context.report(signal).then(
      () => false,
      (error: unknown) => hasCode(error, 'NOT_RUNNING'),
    );
    if (isAway) return [];
    return socket({ path: stripScheme(context.options.adminAddress), forGroup: false, start: 'restart soci-snapshotter-grpc' }, signal);
  },
};

export const containerdSocket: Check = {
  name: 'containerd-socket',
  run: ({ options }, signal) =>
    socket(
      { path: stripScheme(options.containerdAddress), forGroup: true, start: 'start containerd, or name its socket with --address' },
      signal,
    ),
};

async function socket({ path, forGroup, start }: SocketRules, signal: AbortSignal): Promise<Verdict> {
  try {
    const { mode, uid, gid } = await lstat(path);
    const owner = `mode ${(mode & PERMISSIONS).toString(8)}, owner ${uid}:${gid}`;
    await knock(path, signal);
    if ((mode & OTHERS_WRITE) !== 0)
      return problem(`${path} is open to everybody (${owner})`, `chmod o= ${path}: who can connect is as good as root`);
    if (!forGroup && (mode & GROUP_WRITE) !== 0) return problem(`${path} is open to a group (${owner})`, `chmod 600 ${path}`);
    const folder = await lstat(dirname(path));
    if ((folder.mode & OTHERS_WRITE) !== 0 && (folder.mode & STICKY) === 0)
      return problem(`others can put a socket of their own in place of ${path}`, `chmod o-w ${dirname(path)}`);
    return ok(`${path} answers, ${owner}`);
  } catch (error) {
    if (isNotFound(error)) return problem(`${path} is not there`, start);
    if (hasCode(error, 'ECONNREFUSED')) return problem(`nobody listens on ${path}`, start);
    if (hasCode(error, 'EACCES', 'EPERM')) return warning(`${path} may not be used by this user`, 'run this as root');
    return problem(`${path}: ${describeError(error)}`, start);
  }
}

/** Connects and hangs up. */
async function knock(path: string, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  const connection = connect({ path, signal });
  connection.on('connect', () => resolve(undefined)).on('error', reject);
  try {
    await promise;
  } finally {
    connection.destroy();
  }
}

function stripScheme(address: string): string {
  return address.replace(/^unix:\/\//, '');
}
