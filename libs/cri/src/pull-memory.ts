import { closeSync, fstatSync, readSync, writeSync } from 'node:fs';
import type { Logger } from '@soci/log';
import { CriError } from './errors.ts';
import { KeptPulls } from './kept-pulls.ts';
import type { Memory } from './record-layout.ts';

/** Who holds memory for the next process: `KeeperLink` of `@soci/fuse`. */
export interface MemoryKeeper {
  /** Descriptor of what is held under that name, by this process or the one before. */
  memory(name: string): number | undefined;
  /** From the call on it is there by `memory`, whether this succeeds or not. */
  hold(name: string, fd: number): Promise<void>;
  drop(name: string): void;
}

export interface KeptPullsOptions {
  readonly keeper: MemoryKeeper;
  readonly log: Logger;
  /** Aborted when the service is told to stop: then all of it is overwritten, and the keeper lets go of it. */
  readonly signal: AbortSignal;
}

const NAME = 'cri';
/** As much as entries can take: 32 MiB of secrets, 10,000 ends of them, and 10,000 entries of 3 KiB. A page takes memory when it is first written. */
const SIZE_BYTES = 72 << 20;

/**
 * Memory for what pulls bring, held by a keeper: that of the process before, when that was killed, or new one. It is a memfd of a sealed size, on no disk.
 * It is written by system calls and not mapped, so no core dump of this process has it. The kernel may swap it, as it may the rest of a process; a unit with
 * `MemorySwapMax=0` keeps both off the swap device.
 *
 * @returns undefined when there is no such memory: that is logged, and credentials of pulls end with this process
 */
export async function openKeptPulls({ keeper, log, signal }: KeptPullsOptions): Promise<KeptPulls | undefined> {
  const { createMemory, isSealedMemory } = await import('@soci/linux'); // it loads a native module, which a process without a keeper need not have
  const inherited = keeper.memory(NAME);
  try {
    const left = inherited !== undefined && isSealedMemory(inherited) && fstatSync(inherited).size === SIZE_BYTES;
    const taken = left ? KeptPulls.open(new DescriptorMemory(inherited), log) : undefined;
    if (inherited !== undefined && taken !== undefined) {
      log.info({ entries: taken.size, generation: taken.generation }, 'credentials of pulls go on after a crash');
      return wipedAtStop(taken, keeper, signal);
    }
    if (inherited !== undefined) dropKeptPulls(keeper); // of a version that this one does not understand
    const fd = createMemory('soci-cri', SIZE_BYTES);
    const kept = KeptPulls.create(new DescriptorMemory(fd), log);
    await keeper.hold(NAME, fd);
    return wipedAtStop(kept, keeper, signal);
  } catch (error) {
    log.error({ error }, 'credentials of pulls will not survive a crash');
    dropKeptPulls(keeper);
    return undefined;
  }
}

/** For a service that has its CRI source turned off: what is held for it is let go of. */
export function dropKeptPulls(keeper: MemoryKeeper): void {
  const fd = keeper.memory(NAME);
  keeper.drop(NAME);
  if (fd !== undefined) closeSync(fd);
}

function wipedAtStop(kept: KeptPulls, keeper: MemoryKeeper, signal: AbortSignal): KeptPulls {
  const wipe = (): void => {
    kept.wipe();
    dropKeptPulls(keeper);
  };
  if (signal.aborted) wipe();
  else signal.addEventListener('abort', wipe, { once: true });
  return kept;
}

class DescriptorMemory implements Memory {
  readonly sizeBytes = SIZE_BYTES;
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  read(into: Uint8Array, at: number): void {
    if (readSync(this.#fd, into, 0, into.length, at) !== into.length) throw new CriError('MEMORY_FAILED', `memory at ${at} cannot be read`);
  }

  write(from: Uint8Array, at: number): void {
    if (writeSync(this.#fd, from, 0, from.length, at) !== from.length)
      throw new CriError('MEMORY_FAILED', `memory at ${at} cannot be written`);
  }
}
