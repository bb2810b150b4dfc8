import { spawn } from 'node:child_process';
import { closeSync, constants, fstatSync, openSync } from 'node:fs';

// Built-ins alone, and no other file: this process lives as long as the node's containers, and every module in it would stay in memory.

export interface LaunchOptions {
  /** Path of the service's main script. */
  readonly main: string;
  readonly args: readonly string[];
  /** Name of the launcher in ps. */
  readonly title: string;
  /** Flags of Node for the service. Those of the launcher itself are not handed on: they keep it small. */
  readonly nodeArguments?: readonly string[];
  /** `/dev/fuse` */
  readonly device?: string;
}

/** Where the service finds what it inherits. */
export const FD_VARIABLE = 'SOCI_FUSE_FD';
export const ERROR_VARIABLE = 'SOCI_FUSE_ERROR';
/** systemd's sockets come first: it counts from 3. */
export const FIRST_FD = 3;
const MAX_SOCKETS = 64;
const FUSE_DEVICE = (10 << 8) | 229;
const FORWARDED_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;

/**
 * Opens the FUSE device, starts the service with it and waits. The service gets the descriptor by inheritance, so that the mount lives with this process
 * and not with the service. Without a device the service is started all the same, and told why.
 *
 * Signals are passed on; this process ends as the service ended, by the same code or the same signal. Sockets that systemd handed to this process
 * (`LISTEN_FDS`) are handed on at the same numbers; `LISTEN_PID` is taken out, as no process knows its child's number beforehand.
 *
 * @see https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
 */
export async function launch({ main, args, title, nodeArguments = [], device = '/dev/fuse' }: LaunchOptions): Promise<void> {
  process.title = title;
  const environment = { ...process.env };
  const sockets = inheritedSockets(environment);
  const descriptors: number[] = Array.from({ length: sockets }, (_, index) => FIRST_FD + index);
  for (const name of [FD_VARIABLE, ERROR_VARIABLE, 'LISTEN_PID']) environment[name] = undefined; // left out by spawn
  const opened = openDevice(device);
  if (opened.kind === 'open') {
    environment[FD_VARIABLE] = String(FIRST_FD + sockets);
    descriptors.push(opened.fd);
  } else {
    environment[ERROR_VARIABLE] = opened.reason;
  }
  const service = spawn(process.execPath, [...nodeArguments, main, ...args], {
    env: environment,
    stdio: ['inherit', 'inherit', 'inherit', ...descriptors],
  });
  const forward = (signal: NodeJS.Signals): void => void service.kill(signal);
  for (const signal of FORWARDED_SIGNALS) process.on(signal, forward);
  const { promise, resolve, reject } = Promise.withResolvers<{ code: number | null; signal: NodeJS.Signals | null }>();
  service.once('error', reject);
  service.once('exit', (code, signal) => resolve({ code, signal }));
  const { code, signal } = await promise;
  for (const name of FORWARDED_SIGNALS) process.off(name, forward);
  if (signal === null) process.exitCode = code ?? 1;
  else process.kill(process.pid, signal);
}

/** What a service finds in its environment: the descriptor of an open FUSE device, or why there is none. */
export type InheritedFuse = { readonly kind: 'open'; readonly fd: number } | { readonly kind: 'none'; readonly reason: string };

/** Reads what `launch` left for the service. A number that is no FUSE device is not used: it would be somebody else's file. */
export function inheritedFuse(environment: Readonly<Record<string, string | undefined>>): InheritedFuse {
  const text = environment[FD_VARIABLE];
  if (text === undefined) return { kind: 'none', reason: environment[ERROR_VARIABLE] ?? 'not started by the launcher' };
  const fd = Number(text);
  if (!/^[0-9]{1,6}$/.test(text) || fd < FIRST_FD) return { kind: 'none', reason: `${FD_VARIABLE} is no descriptor: ${text}` };
  try {
    if (fstatSync(fd).rdev === FUSE_DEVICE) return { kind: 'open', fd };
    return { kind: 'none', reason: `descriptor ${fd} is not the fuse device` };
  } catch (error) {
    return { kind: 'none', reason: `descriptor ${fd}: ${messageOf(error)}` };
  }
}

/**
 * The environment in which a service that was started by `launch` looks for systemd's sockets: they were checked to be meant for its parent, so they are its own.
 * Any other process gets its environment back as it is.
 */
export function activationEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  pid: number,
): Readonly<Record<string, string | undefined>> {
  return isLaunched(environment) ? { ...environment, LISTEN_PID: String(pid) } : environment;
}

/** Whether a process with this environment is the child of `launch`. */
export function isLaunched(environment: Readonly<Record<string, string | undefined>>): boolean {
  return environment[FD_VARIABLE] !== undefined || environment[ERROR_VARIABLE] !== undefined;
}

function inheritedSockets(environment: Readonly<Record<string, string | undefined>>): number {
  const count = Number(environment['LISTEN_FDS'] ?? '0');
  const isOurs = environment['LISTEN_PID'] === String(process.pid);
  return isOurs && Number.isInteger(count) && count > 0 && count <= MAX_SOCKETS ? count : 0;
}

/** @param device path */
export function openDevice(device: string): InheritedFuse {
  try {
    const fd = openSync(device, constants.O_RDWR);
    if (fstatSync(fd).rdev === FUSE_DEVICE) return { kind: 'open', fd };
    closeSync(fd);
    return { kind: 'none', reason: `${device} is not the fuse device` };
  } catch (error) {
    return { kind: 'none', reason: messageOf(error) };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
