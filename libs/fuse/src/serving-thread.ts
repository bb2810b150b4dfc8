import { extname } from 'node:path';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import type { Control } from './control.ts';
import { FuseError } from './fuse-error.ts';
import type { OwedRequest } from './journal.ts';
import type { SlotChange, WorkerReport, WorkerSetup } from './serve-worker.ts';

export interface ServingEvents {
  /** A request that this thread cannot answer now. */
  readonly onOwed: (request: OwedRequest) => void;
  /** The kernel began the session; `undefined` when it speaks another protocol. */
  readonly onInitialised: (hasResend: boolean | undefined) => void;
  /** The kernel did not take an answer. */
  readonly onRefused: (errno: string) => void;
  /** It ended by itself, not because it was told to: the mount is gone, the device cannot be read, or it broke. */
  readonly onEnded: (reason: string) => void;
  readonly onBroken: (error: FuseError) => void;
}

const WORKER = new URL(`./serve-worker${extname(import.meta.url)}`, import.meta.url);

/** The main thread's end of one thread that answers the kernel. */
export class ServingThread {
  /** Resolves when it can be told to begin; rejects when it cannot start. */
  readonly ready: Promise<unknown>;
  /** Resolves when it is gone. */
  readonly ended: Promise<unknown>;
  readonly #worker: Worker;
  readonly #changes: MessagePort;

  constructor(lent: Pick<WorkerSetup, 'fd' | 'journalFd' | 'mayResend'>, index: number, control: Control, events: ServingEvents) {
    const { port1, port2 } = new MessageChannel();
    const setup: WorkerSetup = { ...lent, index, controlWords: control.words, changes: port2 };
    const worker = new Worker(WORKER, { name: `fuse-${index}`, workerData: setup, transferList: [port2] });
    const ready = Promise.withResolvers<unknown>();
    const ended = Promise.withResolvers<unknown>();
    worker.on('message', (report: WorkerReport) => {
      if (report.kind === 'owed') events.onOwed(report.request);
      else if (report.kind === 'ready') ready.resolve(undefined);
      else if (report.kind === 'initialised') events.onInitialised(report.hasResend);
      else if (report.kind === 'refused') events.onRefused(report.errno);
      else events.onEnded(report.reason);
    });
    worker.once('error', (cause) => {
      const error = new FuseError('WORKER_FAILED', 'a serving thread broke', { cause });
      ready.reject(error);
      events.onBroken(error);
      events.onEnded('broken');
    });
    worker.once('exit', () => {
      control.setServing(index, false);
      port1.close();
      ended.resolve(undefined);
    });
    ready.promise.catch(() => undefined); // who starts it looks at it, if it comes to that
    this.ready = ready.promise;
    this.ended = ended.promise;
    this.#worker = worker;
    this.#changes = port1;
  }

  /** Lets it read from the device: there must be a mount, or it must have been told to stop. */
  begin(): void {
    this.#worker.postMessage('begin');
  }

  /** Seen at its next request, once the epoch is raised. */
  change(change: SlotChange): void {
    this.#changes.postMessage(change);
  }
}
