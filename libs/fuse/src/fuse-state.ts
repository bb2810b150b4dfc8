import { fstatSync, writeSync } from 'node:fs';
import { createMemory, isSealedMemory } from '@soci/linux';
import { Journal, JOURNAL_BYTES } from './journal.ts';
import type { KeeperLink } from './keeper-link.ts';
import { formatSession, type FuseSession, isMounted, readSession, SESSION_BYTES, SESSION_MEMORY } from './launcher/session.ts';

const STATE_BYTES = SESSION_BYTES + JOURNAL_BYTES;

/** What the process that serves a FUSE mount leaves to the next one: which mount it is, and what it had not answered. */
export class FuseState {
  readonly #fd: number;
  readonly journal: Journal;

  private constructor(fd: number) {
    this.#fd = fd;
    this.journal = new Journal(fd);
  }

  /**
   * Opens what an earlier process left, or else makes it and has the keeper hold it.
   *
   * @param keeper left out where nothing outlives this process
   * @throws {FuseError} `KEEPER_FAILED`
   * @throws {LinuxError} when there is no memory to be had
   */
  static async open(keeper: Pick<KeeperLink, 'memory' | 'hold'> | undefined): Promise<FuseState> {
    const inherited = keeper?.memory(SESSION_MEMORY);
    if (inherited !== undefined && isSealedMemory(inherited) && fstatSync(inherited).size === STATE_BYTES) return new FuseState(inherited);
    const state = new FuseState(createMemory('soci-fuse', STATE_BYTES));
    if (inherited !== undefined) state.write(readSession(inherited)); // of a version that kept another journal: the mount goes on all the same
    await keeper?.hold(SESSION_MEMORY, state.#fd);
    return state;
  }

  /** The session at a mount point, if its mount is still there. */
  sessionAt(mountPoint: string): FuseSession | undefined {
    const session = readSession(this.#fd);
    return session?.mountPoint === mountPoint && isMounted(session) ? session : undefined;
  }

  write(session: FuseSession | undefined): void {
    writeSync(this.#fd, formatSession(session), 0, SESSION_BYTES, 0);
  }
}
