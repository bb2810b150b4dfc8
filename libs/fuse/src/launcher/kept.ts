import { closeSync, fstatSync, openSync } from 'node:fs';
import { ERROR_VARIABLE, FD_VARIABLE, FIRST_FD, openDevice } from './device.ts';
import { isMounted, readSession, SESSION_MEMORY } from './session.ts';

// Built-ins alone: the keeper loads this.

/** What the keeper holds for the service, as the environment of either tells the other. Numbers are those of the process that reads it. */
export interface KeptNumbers {
  /** Command line that starts a keeper: whoever notices that the keeper is gone runs it. */
  readonly keeper: readonly string[];
  /** How many times a service was started after one that had ended. */
  readonly restarts: number;
  /** How the one before ended: `SIGKILL`, `status 1`; empty for the first. */
  readonly lastEnd: string;
  /** Listening sockets that systemd opened, the first is number 3. */
  readonly sockets: number;
  readonly memory: Readonly<Record<string, number>>;
  /** Set for a keeper that a running service started: the process id of that service. */
  readonly adopted?: number;
}

/** What a service tells its keeper. */
export type ToKeeper =
  | { readonly kind: 'hold'; readonly name: string; readonly fd: number } // memory: opened through /proc
  | { readonly kind: 'drop'; readonly name: string }
  | { readonly kind: 'ready' } // from now on an end of the service is an accident
  | { readonly kind: 'renew-device' }; // the FUSE device is of no use to the next service

/** What a keeper tells its service. */
export type FromKeeper =
  | { readonly kind: 'here' } // another keeper has all that the one before had
  | { readonly kind: 'held'; readonly name: string; readonly error?: string }; // the answer to `hold`; the error says why not

export const KEPT_VARIABLE = 'SOCI_KEPT';
/** Names in systemd's store. */
export const STORED_DEVICE = 'soci-fuse';
export const STORED_MEMORY_PREFIX = 'soci-memory-';
const STORED_PREFIX = 'soci-';
const MAX_SOCKETS = 64;
const MAX_MEMORIES = 16;
const NAME = /^[a-z][a-z0-9-]{0,30}$/;

type Environment = Readonly<Record<string, string | undefined>>;

/** The numbers in an environment; `undefined` for one that no keeper, and no service that starts one, has made. */
export function parseKept(environment: Environment): KeptNumbers | undefined {
  const text = environment[KEPT_VARIABLE];
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as KeptNumbers; // ours: whoever sets our environment could as well start another program
  } catch {
    return undefined;
  }
}

/** Where the descriptors of a child are: sockets first, because systemd counts from 3, then the device, then memory. The channel of messages comes last. */
export function layOut(
  sockets: readonly number[],
  device: number | undefined,
  memory: ReadonlyMap<string, number>,
): { readonly descriptors: readonly number[]; readonly deviceAt: number | undefined; readonly memoryAt: Readonly<Record<string, number>> } {
  const descriptors = [...sockets, ...(device === undefined ? [] : [device]), ...memory.values()];
  const deviceAt = device === undefined ? undefined : FIRST_FD + sockets.length;
  const firstMemory = FIRST_FD + descriptors.length - memory.size;
  const memoryAt = Object.fromEntries([...memory.keys()].map((name, index) => [name, firstMemory + index]));
  return { descriptors, deviceAt, memoryAt };
}

/** The descriptors that outlive services. */
export class Kept {
  readonly sockets: readonly number[];
  /** As `LISTEN_FDNAMES` has them. */
  readonly socketNames: string | undefined;
  readonly memory = new Map<string, number>();
  readonly #path: string;
  #device: number | undefined;
  #deviceError = '';

  private constructor(path: string, sockets: readonly number[], socketNames: string | undefined) {
    this.#path = path;
    this.sockets = sockets;
    this.socketNames = socketNames;
  }

  /** Takes what a service that goes on, or systemd, has handed to this process. */
  static inherit(environment: Environment, devicePath: string, adopts: KeptNumbers | undefined): Kept {
    if (adopts === undefined) return Kept.#fromSystemd(environment, devicePath);
    const kept = new Kept(devicePath, count(adopts.sockets), environment['LISTEN_FDNAMES']);
    for (const [name, fd] of Object.entries(adopts.memory)) kept.memory.set(name, fd);
    const fd = environment[FD_VARIABLE];
    if (fd === undefined) kept.#deviceError = environment[ERROR_VARIABLE] ?? '';
    else kept.#device = Number(fd);
    return kept;
  }

  /** An open device: the one that is mounted, or else one that was never used. */
  device(): { readonly fd: number } | { readonly fd: undefined; readonly error: string } {
    if (this.#device !== undefined && !this.#isAlive()) this.renewDevice();
    if (this.#device !== undefined) return { fd: this.#device };
    const opened = openDevice(this.#path);
    if (opened.kind === 'open') this.#device = opened.fd;
    else this.#deviceError = opened.reason;
    return this.#device === undefined ? { fd: undefined, error: this.#deviceError } : { fd: this.#device };
  }

  /** With the last descriptor the kernel ends the session: whoever still waits for an answer gets an error. */
  renewDevice(): void {
    if (this.#device !== undefined) closeSync(this.#device);
    this.#device = undefined;
  }

  /**
   * Opens memory of a running process by its number there. Only memory and plain files can be had in this way: another device would be opened anew.
   * @throws {Error} saying why not
   */
  hold(pid: number, name: string, fd: number): void {
    if (!NAME.test(name)) throw new Error(`${name}: no name for memory`);
    if (!Number.isInteger(fd) || fd < 0) throw new Error(`${fd}: no descriptor`);
    if (!this.memory.has(name) && this.memory.size >= MAX_MEMORIES) throw new Error('too many memories are held');
    const path = `/proc/${pid}/fd/${fd}`;
    const opened = openSync(path, 'r+');
    if (!fstatSync(opened).isFile()) {
      closeSync(opened);
      throw new Error(`descriptor ${fd} is no memory`);
    }
    this.drop(name);
    this.memory.set(name, opened);
  }

  drop(name: string): void {
    const fd = this.memory.get(name);
    if (fd !== undefined) closeSync(fd);
    this.memory.delete(name);
  }

  #isAlive(): boolean {
    const memory = this.memory.get(SESSION_MEMORY);
    const session = memory === undefined ? undefined : readSession(memory);
    return session !== undefined && isMounted(session);
  }

  /** Its listening sockets, and what an earlier run of the unit put into its store. */
  static #fromSystemd(environment: Environment, devicePath: string): Kept {
    const total = Number(environment['LISTEN_FDS'] ?? '0');
    const isOurs = environment['LISTEN_PID'] === String(process.pid) && Number.isInteger(total) && total > 0 && total <= MAX_SOCKETS;
    const names = environment['LISTEN_FDNAMES']?.split(':');
    const inherited = isOurs ? count(total) : [];
    const nameOf = (fd: number): string => names?.[fd - FIRST_FD] ?? '';
    const isStored = (fd: number): boolean => nameOf(fd).startsWith(STORED_PREFIX);
    const sockets = inherited.filter((fd) => !isStored(fd));
    const kept = new Kept(devicePath, sockets, names && sockets.map(nameOf).join(':'));
    for (const fd of inherited.filter(isStored)) kept.#takeStored(fd, nameOf(fd));
    return kept;
  }

  #takeStored(fd: number, name: string): void {
    if (name === STORED_DEVICE) {
      this.renewDevice(); // of two, the one that was stored last
      this.#device = fd;
    } else if (name.startsWith(STORED_MEMORY_PREFIX)) {
      this.drop(name.slice(STORED_MEMORY_PREFIX.length));
      this.memory.set(name.slice(STORED_MEMORY_PREFIX.length), fd);
    } else closeSync(fd);
  }
}

function count(sockets: number): number[] {
  return Array.from({ length: sockets }, (_, index) => FIRST_FD + index);
}
