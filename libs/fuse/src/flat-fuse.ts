import { writevSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { hasCode } from '@soci/errors';
import { findMount, MOUNT_FLAGS, readMountInfo, setReadAhead, Syscalls, UMOUNT_FLAGS } from '@soci/linux';
import type { Logger } from '@soci/log';
import { Control } from './control.ts';
import { FuseError } from './fuse-error.ts';
import type { FuseState } from './fuse-state.ts';
import { OwedRequests } from './owed-requests.ts';
import { MAX_READ_BYTES, OUT_HEADER_BYTES, putError, putHeader, resendMessage } from './protocol.ts';
import { type Miss, parseRequest } from './responder.ts';
import type { SlotChange } from './serve-worker.ts';
import { ServingThread } from './serving-thread.ts';
import type { FuseSession } from './launcher/session.ts';
import { checkSlot, fileName, type Slot } from './slot.ts';

export interface FlatFuseOptions {
  /** An open /dev/fuse; stays open when this is closed. */
  readonly fd: number;
  /** An existing directory. */
  readonly mountPoint: string;
  /** What this leaves to the next process, and what the one before has left: with a session whose mount is still there, that mount goes on. */
  readonly state?: FuseState | undefined;
  /** Slots that are served from the start. */
  readonly slots?: readonly Slot[];
  /** False: as on a kernel that cannot send again what was not answered (before 6.9). For tests. */
  readonly mayResend?: boolean;
  /** To mount and unmount with. Of its own when left out: better in a service, where a call that waits for a read would hold up the end. */
  readonly syscalls?: Syscalls;
  readonly log: Logger;
  /** A READ that somebody has to answer by `reply` or `replyError`, once. Called on the main thread; must not throw. */
  readonly onMiss: (miss: Miss) => void;
  /** A serving thread ended though nobody closed this: the mount was taken away from outside, or the thread broke. */
  readonly onEnded?: (reason: string) => void;
}

const WORKERS = 2;
const START_DEADLINE_MS = 10_000;
const STOP_DEADLINE_MS = 4_000;
const REMOVE_DEADLINE_MS = 30_000;
const REMOVE_POLL_MS = 2;
const POKE_DEADLINE_MS = 500;
const READ_AHEAD_KIB = 1024;
/** As long as a read may wait for its bytes. */
const SETTLE_DEADLINE_MS = 30_000;

/**
 * The one FUSE mount of a node: a directory with two files per slot, `<slot>.names` and `<slot>.bytes`. Two threads answer the kernel from memory and disk;
 * a READ whose bytes are not there is handed to `onMiss`, and whoever gets it answers by `reply`.
 *
 * `process.exit` and `worker.terminate` hang while a thread sits in read(2): close this first; where that fails, `exitNow` of `@soci/linux` is the way out.
 */
export class FlatFuse implements AsyncDisposable {
  readonly #options: FlatFuseOptions;
  readonly #control = new Control(WORKERS);
  readonly #syscalls: Syscalls;
  /** Closed with this: the calls, unless they were lent. */
  readonly #owned = new AsyncDisposableStack();
  readonly #servers: readonly ServingThread[];
  readonly #usedSlots = new Set<number>();
  readonly #owed: OwedRequests;
  readonly #initialised = Promise.withResolvers<boolean | undefined>();
  readonly #header = new Uint32Array(OUT_HEADER_BYTES / 4);
  readonly #headerBytes = new Uint8Array(this.#header.buffer);
  readonly #session: FuseSession | undefined;
  #hasResend = false;
  /** Taken over from the journal. */
  #journaled = 0;
  #settling: NodeJS.Timeout | undefined;
  #isClosed = false;
  #isMounted = false;

  private constructor(options: FlatFuseOptions) {
    this.#options = options;
    this.#syscalls = options.syscalls ?? this.#owned.use(new Syscalls());
    this.#session = options.state?.sessionAt(options.mountPoint);
    this.#owed = new OwedRequests({
      fd: options.fd,
      journal: options.state?.journal,
      onMiss: options.onMiss,
      onRefused: (errno) => this.#refused(errno),
    });
    this.#servers = Array.from({ length: WORKERS }, (_, index) => this.#start(index));
  }

  /**
   * Mounts and starts to serve, or goes on with the mount of an earlier process: then requests for slots that are not there wait until they are added or
   * `settle` is called.
   *
   * @throws {LinuxError} the errno of mount(2)
   * @throws {FuseError} `INIT_FAILED`, `WORKER_FAILED`
   */
  static async serve(options: FlatFuseOptions): Promise<FlatFuse> {
    const fuse = new FlatFuse(options);
    try {
      await fuse.#begin();
      return fuse;
    } catch (error) {
      if (fuse.isResumed)
        await fuse.detach(); // the next process may have more luck
      else await fuse[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Whether the mount is one of an earlier process. */
  get isResumed(): boolean {
    return this.#session !== undefined;
  }

  /** Requests that wait for a slot to be added. */
  get heldRequests(): number {
    return this.#owed.heldCount;
  }

  /** Requests that an earlier process had taken and that came to this one. */
  get resumedRequests(): number {
    return this.#control.resent + this.#journaled;
  }

  /** Whether the kernel sends unanswered requests again when a new process takes the descriptor over; without, the journal of the state has them. */
  get hasResend(): boolean {
    return this.#hasResend;
  }

  namesPath(slot: number): string {
    return join(this.#options.mountPoint, fileName(slot, 'names'));
  }

  bytesPath(slot: number): string {
    return join(this.#options.mountPoint, fileName(slot, 'bytes'));
  }

  /**
   * Shows a layer's files. They are there when this returns; mount after it, not before.
   *
   * @throws {FuseError} `SLOT_INVALID`; `SLOT_IN_USE` for a number that was ever used in this mount
   */
  addSlot(slot: Slot): void {
    checkSlot(slot);
    if (this.#usedSlots.has(slot.slot)) throw new FuseError('SLOT_IN_USE', `slot ${slot.slot} was used before`);
    this.#usedSlots.add(slot.slot);
    this.#owed.addSlot(slot);
    this.#change({ kind: 'add', slot });
  }

  /** All slots of the earlier process are there: from now on a request for another one is refused at once. */
  settle(): void {
    clearTimeout(this.#settling);
    this.#control.setHolding(false);
    this.#owed.release();
  }

  /**
   * Takes a layer's files away; what is read from them afterwards gets EIO. Resolves when no serving thread can touch the slot's descriptors any more:
   * then the owner may close them, not before (another file could get the number under a read). Misses that wait are the owner's to answer.
   */
  async removeSlot(slot: number): Promise<void> {
    this.#owed.removeSlot(slot);
    const epoch = this.#change({ kind: 'remove', slot });
    const deadline = performance.now() + REMOVE_DEADLINE_MS;
    while (this.#servers.some((_, index) => this.#control.mayLag(index, epoch))) {
      if (performance.now() > deadline) throw new FuseError('WORKER_FAILED', `slot ${slot}: a serving thread is stuck`);
      await new Promise((resolve) => setTimeout(resolve, REMOVE_POLL_MS));
    }
  }

  /**
   * Answers a miss, in one write and without a copy.
   *
   * @param data exactly as many bytes as the miss wants, in one part or several; the caller's again when this returns
   * @throws {FuseError} `REPLY_FAILED` when it is not that many (a short answer would shrink the file for the kernel for good, so EIO was answered instead),
   * or when the kernel refuses the answer. An asker that is gone is no error.
   */
  reply(uniqueLow: number, uniqueHigh: number, data: Uint8Array | readonly Uint8Array[]): void {
    const parts: readonly Uint8Array[] = data instanceof Uint8Array ? [data] : data;
    const sizeBytes = parts.reduce((sum, part) => sum + part.length, 0);
    const wantedBytes = this.#owed.wantedBytes(uniqueLow);
    if (wantedBytes !== undefined && wantedBytes !== sizeBytes) {
      this.replyError(uniqueLow, uniqueHigh);
      throw new FuseError('REPLY_FAILED', `answer of ${sizeBytes} bytes to a read of ${wantedBytes}`);
    }
    putHeader(this.#header, uniqueLow, uniqueHigh, OUT_HEADER_BYTES + sizeBytes);
    this.#write(uniqueLow, () => writevSync(this.#options.fd, [this.#headerBytes, ...parts]));
  }

  /** Answers a miss with an error. @param errno positive; EIO by default */
  replyError(uniqueLow: number, uniqueHigh: number, errno: number = constants.errno.EIO): void {
    putError(this.#header, uniqueLow, uniqueHigh, errno);
    this.#write(uniqueLow, () => writeSync(this.#options.fd, this.#headerBytes));
  }

  /**
   * Stops serving and leaves the mount as it is, for the process that gets the descriptor next; what is read meanwhile waits.
   * Resolves when the threads have ended.
   *
   * @throws {FuseError} `WORKER_FAILED` when they do not in time
   */
  async detach(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#settling);
    this.#control.stop();
    // A request wakes a thread: it answers, then sees that it is to stop.
    const poke = async (n: number): Promise<unknown> =>
      await this.#syscalls
        .pathExists(join(this.#options.mountPoint, `.wake-${n}`), { deadlineMs: POKE_DEADLINE_MS })
        .catch(() => undefined);
    const ended = this.#allEnded();
    for (const server of this.#servers) server.begin(); // one that never began ends now
    for (let n = 0; n < WORKERS; n++) await Promise.race([poke(n), ended]);
    await ended;
    await this.#owned.disposeAsync();
  }

  /** Takes the mount away: who waits for an answer gets an error at once, whatever is still mounted from it reads EIO, and the threads end. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#settling);
    this.#options.state?.write(undefined);
    this.#control.stop();
    await using cleanup = new AsyncDisposableStack();
    cleanup.use(this.#owned);
    if (this.#isMounted) await this.#unmount();
    for (const server of this.#servers) server.begin(); // one that never began ends now
    await this.#allEnded();
  }

  async #begin(): Promise<void> {
    await within(START_DEADLINE_MS, 'serving threads did not start', Promise.all(this.#servers.map(({ ready }) => ready)));
    for (const slot of this.#options.slots ?? []) this.addSlot(slot);
    if (this.#session === undefined) await this.#beginSession();
    else this.#resumeSession(this.#session);
    const { mountPoint, log } = this.#options;
    try {
      setReadAhead(mountPoint, READ_AHEAD_KIB); // after INIT, which sets it to 128 at most
    } catch (error) {
      log.warn({ mountPoint, error }, 'read-ahead of the fuse mount cannot be set; large reads will be slower');
    }
  }

  async #beginSession(): Promise<void> {
    const { fd, mountPoint, state } = this.#options;
    state?.write(undefined); // the device is used: another process cannot begin with it
    state?.journal.clear();
    const flags = MOUNT_FLAGS.readOnly | MOUNT_FLAGS.noSuid | MOUNT_FLAGS.noDev | MOUNT_FLAGS.noExec;
    const data = `fd=${fd},rootmode=40000,user_id=0,group_id=0,max_read=${MAX_READ_BYTES}`;
    await this.#syscalls.mount({ source: 'soci', target: mountPoint, type: 'fuse', flags, data });
    this.#isMounted = true;
    for (const server of this.#servers) server.begin();
    const hasResend = await within(START_DEADLINE_MS, 'the kernel did not begin the session', this.#initialised.promise);
    if (hasResend === undefined) throw new FuseError('INIT_FAILED', 'the kernel speaks another version of FUSE');
    this.#hasResend = hasResend;
    const device = findMount(mountPoint, readMountInfo())?.device;
    if (device !== undefined) state?.write({ mountPoint, device, hasResend });
  }

  /** The kernel has begun the session with an earlier process and does not do it again. */
  #resumeSession({ hasResend, mountPoint }: FuseSession): void {
    const { fd, state, log } = this.#options;
    this.#hasResend = hasResend;
    this.#isMounted = true;
    this.#control.setJournaling(!hasResend);
    this.#control.setHolding(true);
    this.#owed.hold();
    this.#settling = setTimeout(() => {
      log.warn({ mountPoint, requests: this.heldRequests }, 'not all slots of an earlier process came back in time');
      this.settle();
    }, SETTLE_DEADLINE_MS);
    const owed = hasResend ? [] : (state?.journal.takeOver(parseRequest) ?? []);
    if (hasResend) writeSync(fd, resendMessage()); // before a thread reads: what it had taken already would be sent twice
    for (const server of this.#servers) server.begin();
    for (const request of owed) this.#owed.take(request);
    this.#journaled = owed.length;
    log.info({ mountPoint, hasResend, requests: owed.length }, 'fuse mount of an earlier process goes on');
  }

  async #unmount(): Promise<void> {
    try {
      await this.#syscalls.umount(this.#options.mountPoint, UMOUNT_FLAGS.force | UMOUNT_FLAGS.detach);
    } catch (error) {
      if (!hasCode(error, 'EINVAL', 'ENOENT')) throw error; // somebody else did it
    }
  }

  #change(change: SlotChange): number {
    for (const server of this.#servers) server.change(change);
    return this.#control.raiseEpoch();
  }

  #write(uniqueLow: number, write: () => void): void {
    try {
      write();
      this.#owed.settle(uniqueLow); // after it: a process that is killed between the two leaves an answer that is given twice
    } catch (cause) {
      this.#owed.settle(uniqueLow);
      // ENOENT: who asked is gone. The others: so is the mount.
      if (hasCode(cause, 'ENOENT', 'ENODEV', 'EPERM', 'ECONNABORTED', 'ENOTCONN')) return;
      throw new FuseError('REPLY_FAILED', 'the kernel refused an answer', { cause });
    }
  }

  #start(index: number): ServingThread {
    const { fd, state, mayResend = true, log } = this.#options;
    return new ServingThread({ fd, journalFd: state?.journal.fd, mayResend }, index, this.#control, {
      onOwed: (request) => this.#owed.take(request),
      onInitialised: (hasResend) => this.#initialised.resolve(hasResend),
      onRefused: (errno) => this.#refused(errno),
      onEnded: (reason) => this.#lose(reason),
      onBroken: (error) => log.error({ error }, 'fuse thread broke'),
    });
  }

  #refused(errno: string): void {
    this.#options.log.error({ errno }, 'kernel refused a fuse answer');
  }

  #lose(reason: string): void {
    if (this.#isClosed) return;
    this.#options.log.error({ reason, mountPoint: this.#options.mountPoint }, 'fuse thread ended');
    this.#options.onEnded?.(reason);
  }

  async #allEnded(): Promise<void> {
    const all = Promise.all(this.#servers.map(({ ended }) => ended));
    await within(STOP_DEADLINE_MS, 'serving threads did not end', all);
  }
}

async function within<T>(deadlineMs: number, message: string, promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new FuseError('WORKER_FAILED', `${message} within ${deadlineMs} ms`)), deadlineMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
