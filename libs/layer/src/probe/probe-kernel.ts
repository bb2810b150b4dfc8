import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { describeError } from '@soci/errors';
import type { Logger } from '@soci/log';
import { ProbeAnswers } from './probe-answers.ts';
import { makeProbeLayer, type ProbeFile, type ProbeLayer } from './probe-image.ts';
import { mountProbe, type ProbeMounts } from './probe-mounts.ts';
import { ReaderProcess } from './reader-process.ts';

export interface KernelProbeOptions {
  /** Where the layers will be: a directory of its own is made there for the time of the probe. */
  readonly directory: string;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** `/dev/fuse`: opened for the probe alone, as a descriptor can be mounted once. */
  readonly device?: string;
}

export interface KernelProbe {
  /** `erofs`: layers can be mounted lazily. `none`: images have to be pulled plainly. */
  readonly mode: 'erofs' | 'none';
  /** What was found to work, or the first thing that does not. */
  readonly reason: string;
  /** Whether the kernel sends unanswered reads again to a process that takes the FUSE descriptor over. Does not choose the mode. */
  readonly resend: boolean;
}

const DEADLINE_MS = 5_000;
/** A killed reader is gone in a few milliseconds where reads can be interrupted. */
const KILL_MS = 500;

/**
 * Tries whether this kernel serves layers rightly: EROFS with 512-byte blocks over files of a FUSE mount, an overlay on it, a read that fails and then
 * does not, and the right bytes after a reader was killed in the middle. Leaves nothing behind. Files are read by processes of their own.
 *
 * Does not throw for what the kernel does; only for `signal`.
 */
export async function probeKernel({ directory, log, signal, device = '/dev/fuse' }: KernelProbeOptions): Promise<KernelProbe> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]);
  const layer = makeProbeLayer();
  const answers = new ProbeAnswers(layer);
  try {
    await using checking = new ReaderProcess(); // both start while the mounts are made
    await using killed = new ReaderProcess();
    await using mounts = await mountProbe({ path: join(directory, 'probe'), device, layer, onMiss: answers.take, log });
    answers.start(mounts.fuse);
    const check = new ProbeReads(mounts, layer, checking, bounded);
    await check.reads('local', 'a read of bytes that are there');
    await killReader(killed, mounts, answers, bounded);
    await check.reads('killed', 'a read after a reader was killed in the middle');
    answers.fail('failing');
    await check.fails('failing');
    answers.succeed();
    await check.reads('failing', 'a read after one that failed');
    await check.reads('last', 'a read of a last file without padding');
    return { mode: 'erofs', reason: 'EROFS over FUSE, overlay on it, failed and killed reads', resend: mounts.fuse.hasResend };
  } catch (error) {
    signal.throwIfAborted();
    return { mode: 'none', reason: bounded.aborted ? `no result within ${DEADLINE_MS} ms` : describeError(error), resend: false };
  }
}

async function killReader(reader: ReaderProcess, { top }: ProbeMounts, answers: ProbeAnswers, signal: AbortSignal): Promise<void> {
  const asked = answers.hold('killed', signal);
  reader.startReading(join(top, 'killed'));
  await asked;
  await reader.kill(KILL_MS); // one that does not die yet dies when it is answered
  answers.release();
}

/** Reads one file after the other, and says which did not come out as it should. */
class ProbeReads {
  readonly #mounts: ProbeMounts;
  readonly #layer: ProbeLayer;
  readonly #reader: ReaderProcess;
  readonly #signal: AbortSignal;

  constructor(mounts: ProbeMounts, layer: ProbeLayer, reader: ReaderProcess, signal: AbortSignal) {
    this.#mounts = mounts;
    this.#layer = layer;
    this.#reader = reader;
    this.#signal = signal;
  }

  async reads(file: ProbeFile, what: string): Promise<void> {
    const got = await this.#reader.read(join(this.#mounts.top, file), this.#signal);
    if (got === createHash('sha256').update(this.#layer.contents(file)).digest('hex')) return;
    throw new Error(`${what} gave ${/^E[A-Z]+$/.test(got) ? got : 'wrong bytes'}`);
  }

  async fails(file: ProbeFile): Promise<void> {
    const got = await this.#reader.read(join(this.#mounts.top, file), this.#signal);
    if (got !== 'EIO') throw new Error(`a read that was answered with EIO gave ${/^E[A-Z]+$/.test(got) ? got : 'bytes'}`);
  }
}
