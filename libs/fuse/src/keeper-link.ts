import { notifySystemd } from '@soci/linux';
import type { Logger } from '@soci/log';
import { FuseError } from './fuse-error.ts';
import { type KeeperPeer, parentKeeper, type PeerEvents, startKeeper } from './keeper-peer.ts';
import {
  type FromKeeper,
  KEPT_VARIABLE,
  type KeptNumbers,
  layOut,
  parseKept,
  STORED_DEVICE,
  STORED_MEMORY_PREFIX,
} from './launcher/kept.ts';
import { FD_VARIABLE, FIRST_FD, inheritedFuse } from './launcher/device.ts';
import { SESSION_MEMORY } from './launcher/session.ts';

export interface KeeperLinkOptions {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
}

const STORED_SESSION = `${STORED_MEMORY_PREFIX}${SESSION_MEMORY}`;
const HOLD_DEADLINE_MS = 5_000;
/** Between two keepers, so that one that cannot start does not take the whole machine. */
const RESTART_PAUSE_MS = 500;

/**
 * A service's connection to the keeper that holds its descriptors. When the keeper is gone, this starts another one and hands it all that the service
 * has; the service goes on meanwhile. Under systemd the mount is put into the store of the unit as well.
 */
export class KeeperLink implements Disposable {
  readonly #options: KeeperLinkOptions;
  readonly #told: KeptNumbers;
  readonly #memory: Map<string, number>;
  readonly #waiting = new Map<string, { readonly resolve: () => void; readonly reject: (error: Error) => void }>();
  #peer: KeeperPeer;
  #isFirst = true;
  #isKept = true;
  #isReady = false;
  #isClosed = false;
  #startedAt = Number.NEGATIVE_INFINITY;

  private constructor(options: KeeperLinkOptions, told: KeptNumbers) {
    this.#options = options;
    this.#told = told;
    this.#memory = new Map(Object.entries(told.memory));
    this.#peer = parentKeeper(this.#events());
    this.#store();
  }

  /** @returns undefined in a process that no keeper started: nothing outlives that one */
  static connect(options: KeeperLinkOptions): KeeperLink | undefined {
    const told = parseKept(options.environment);
    return told === undefined || process.channel === undefined ? undefined : new KeeperLink(options, told);
  }

  /** Whether there is a keeper now: there is none for the moment between the end of one and the start of the next. */
  get isKept(): boolean {
    return this.#isKept;
  }

  /** The process that holds the descriptors, or is about to. */
  get keeperPid(): number {
    return this.#peer.pid;
  }

  /** How many services were started before this one by accident of the one before. */
  get restarts(): number {
    return this.#told.restarts;
  }

  /** How the service before this one ended; empty for the first. */
  get lastEnd(): string {
    return this.#told.lastEnd;
  }

  /** Whether a mount outlives a stop of all processes too: it does in the store of a systemd unit that is restarted. */
  get outlivesStop(): boolean {
    const { environment } = this.#options;
    return environment['NOTIFY_SOCKET'] !== undefined && Number(environment['FDSTORE'] ?? '0') > 0;
  }

  /** Memory that an earlier process had held under that name. */
  memory(name: string): number | undefined {
    return this.#memory.get(name);
  }

  /**
   * Has memory held by the keeper, in place of what it held under that name. When this resolves it outlives this process, but no stop of the unit.
   *
   * @param fd of `createMemory` of `@soci/linux`; the caller keeps it open
   * @throws {FuseError} `KEEPER_FAILED`
   */
  async hold(name: string, fd: number): Promise<void> {
    this.#memory.set(name, fd);
    if (name === SESSION_MEMORY) this.#store();
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const timer = setTimeout(
      () => reject(new FuseError('KEEPER_FAILED', `${name}: no answer within ${HOLD_DEADLINE_MS} ms`)),
      HOLD_DEADLINE_MS,
    );
    this.#waiting.set(name, { resolve: () => resolve(undefined), reject });
    this.#peer.send({ kind: 'hold', name, fd });
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(name);
    }
  }

  /** Lets memory go. The caller closes its own descriptor after this. */
  drop(name: string): void {
    if (!this.#memory.delete(name)) return;
    this.#peer.send({ kind: 'drop', name });
    if (name === SESSION_MEMORY) this.#notify(`FDSTOREREMOVE=1\nFDNAME=${STORED_SESSION}`, []);
  }

  /** The service serves: from now on it is started again however it ends, unless it was told to stop or ends with status 0. */
  ready(): void {
    this.#isReady = true;
    this.#peer.send({ kind: 'ready' });
  }

  /** The mount of the device is gone: the next service gets a device that was never used. This one cannot get any, it has to end. */
  renewDevice(): void {
    this.#peer.send({ kind: 'renew-device' });
    this.#notify(`FDSTOREREMOVE=1\nFDNAME=${STORED_DEVICE}`, []);
  }

  /** From now on an end of the keeper is nothing that this looks at. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
  }

  #events(): PeerEvents {
    return {
      onMessage: (message) => this.#receive(message),
      onGone: () => this.#lose(),
      onFailed: (error) => this.#options.log.error({ error }, 'keeper cannot be started'),
    };
  }

  #receive(message: FromKeeper): void {
    if (message.kind === 'here') {
      if (!this.#isKept) this.#options.log.info({ keeperPid: this.#peer.pid }, 'keeper started');
      this.#isKept = true;
      return;
    }
    const { name, error } = message;
    const waiting = this.#waiting.get(name);
    if (error === undefined) waiting?.resolve();
    else waiting?.reject(new FuseError('KEEPER_FAILED', `${name} is not held: ${error}`));
  }

  #lose(): void {
    this.#isKept = false;
    if (this.#isClosed) return;
    const pauseMs = Math.max(0, this.#startedAt + RESTART_PAUSE_MS - performance.now());
    this.#options.log.warn({ keeperPid: this.#peer.pid, pauseMs }, 'keeper is gone, another one is started');
    if (pauseMs === 0) this.#replace();
    else setTimeout(() => this.#replace(), pauseMs);
  }

  #replace(): void {
    if (this.#isClosed) return;
    const { environment } = this.#options;
    this.#startedAt = performance.now();
    const sockets = Array.from({ length: this.#told.sockets }, (_, index) => FIRST_FD + index);
    const device = inheritedFuse(environment);
    const { descriptors, deviceAt, memoryAt } = layOut(sockets, device.kind === 'open' ? device.fd : undefined, this.#memory);
    const kept: KeptNumbers = { ...this.#told, memory: memoryAt, adopted: process.pid };
    const forKeeper: NodeJS.ProcessEnv = {
      ...environment,
      [KEPT_VARIABLE]: JSON.stringify(kept),
      [FD_VARIABLE]: deviceAt === undefined ? undefined : String(deviceAt),
    };
    this.#isFirst = false;
    this.#peer = startKeeper(this.#told.keeper, forKeeper, descriptors, this.#events());
    if (this.#isReady) this.#peer.send({ kind: 'ready' });
    for (const { resolve } of this.#waiting.values()) resolve(); // it has them by inheritance
    this.#notify(`MAINPID=${this.keeperPid}`, []);
  }

  /** What the mount needs and nothing else: secrets do not outlive a stop. */
  #store(): void {
    const put = (name: string, fd: number): void => this.#notify(`FDSTORE=1\nFDPOLL=0\nFDNAME=${name}`, [fd]);
    const device = inheritedFuse(this.#options.environment);
    if (device.kind === 'open') put(STORED_DEVICE, device.fd);
    const memory = this.#memory.get(SESSION_MEMORY);
    if (memory === undefined) return;
    // systemd knows a descriptor that it has, but not memory that was opened another time: that would be stored again with each keeper.
    this.#notify(`FDSTOREREMOVE=1\nFDNAME=${STORED_SESSION}`, []);
    put(STORED_SESSION, memory);
  }

  #notify(state: string, descriptors: readonly number[]): void {
    const { environment, log } = this.#options;
    // In the name of the keeper that systemd started, while it is there.
    const pid = this.#isFirst ? process.ppid : process.pid;
    try {
      notifySystemd(environment, state, { pid, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }, descriptors);
    } catch (error) {
      log.warn({ error }, 'systemd does not keep what the next service needs');
    }
  }
}
