import { closeSync, constants, fstatSync, openSync } from 'node:fs';

// Built-ins alone: the keeper loads this.

export interface KeepOptions {
  /** Path of the service's main script. */
  readonly main: string;
  readonly args: readonly string[];
  /** Name of the keeper in ps. */
  readonly title: string;
  /** Flags of Node for the service. Those of the keeper itself are not handed on: they keep it small. */
  readonly nodeArguments?: readonly string[];
  /** `/dev/fuse` */
  readonly device?: string;
}

/** Where the service finds what it inherits. */
export const FD_VARIABLE = 'SOCI_FUSE_FD';
export const ERROR_VARIABLE = 'SOCI_FUSE_ERROR';
/** systemd's sockets come first: it counts from 3. */
export const FIRST_FD = 3;
const FUSE_DEVICE = (10 << 8) | 229;

/** What a service finds in its environment: the descriptor of an open FUSE device, or why there is none. */
export type InheritedFuse = { readonly kind: 'open'; readonly fd: number } | { readonly kind: 'none'; readonly reason: string };

/** Reads what the keeper left for the service. A number that is no FUSE device is not used: it would be somebody else's file. */
export function inheritedFuse(environment: Readonly<Record<string, string | undefined>>): InheritedFuse {
  const text = environment[FD_VARIABLE];
  if (text === undefined) return { kind: 'none', reason: environment[ERROR_VARIABLE] ?? 'not started by a keeper' };
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
 * The environment in which a service that was started by a keeper looks for systemd's sockets: they were checked to be meant for its parent, so they are its own.
 * Any other process gets its environment back as it is.
 */
export function activationEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  pid: number,
): Readonly<Record<string, string | undefined>> {
  return isKept(environment) ? { ...environment, LISTEN_PID: String(pid) } : environment;
}

/** Whether a process with this environment is the child of a keeper. */
export function isKept(environment: Readonly<Record<string, string | undefined>>): boolean {
  return environment[FD_VARIABLE] !== undefined || environment[ERROR_VARIABLE] !== undefined;
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
