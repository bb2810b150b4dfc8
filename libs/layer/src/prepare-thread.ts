import { Worker } from 'node:worker_threads';
import { LayerError } from './errors.ts';
import type { Prepared, PrepareJob, PrepareResult } from './prepare-worker.ts';
import { workerUrl } from './worker-url.ts';

/** Longer than an image takes from one layer to the next. */
const IDLE_MS = 20_000;

/**
 * The thread in which layers are prepared, one after the other: it keeps the trees that the next layers of an image need. With nothing to do it is ended:
 * trees and thread hold more memory than a thousand mounted layers.
 */
export class PrepareThread implements AsyncDisposable {
  #worker: Worker | undefined;
  #nextId = 1;
  readonly #pending = new Map<number, { readonly resolve: (result: Prepared) => void; readonly reject: (error: LayerError) => void }>();
  readonly #idleMs: number;
  #idle: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(idleMs = IDLE_MS) {
    this.#idleMs = idleMs;
  }

  /** Starts the thread where it does not run: there is going to be work, which shall not wait for it. */
  begin(): void {
    if (this.#isClosed) return;
    this.#worker ??= this.#start();
    if (this.#pending.size === 0) this.#rest();
  }

  prepare(job: Omit<PrepareJob, 'id'>): Promise<Prepared> {
    if (this.#isClosed) return Promise.reject(new LayerError('CLOSED', 'layer preparation is closed'));
    clearTimeout(this.#idle);
    this.#worker ??= this.#start();
    const worker = this.#worker;
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      worker.ref();
      worker.postMessage({ ...job, id } satisfies PrepareJob, handedOver(job.ztoc?.bytes));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#idle);
    this.#failAll(new LayerError('CLOSED', 'layer preparation is closed'));
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(workerUrl('prepare-worker', import.meta.url), { name: 'soci-prepare' });
    worker.on('message', (result: PrepareResult) => this.#settle(result));
    const lost = (cause?: unknown): void => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      this.#failAll(new LayerError('STORE_BROKEN', 'the thread that prepares layers ended', { cause }));
    };
    worker.on('error', lost);
    worker.on('exit', () => lost());
    return worker;
  }

  #settle(result: PrepareResult): void {
    const pending = this.#pending.get(result.id);
    this.#pending.delete(result.id);
    if (this.#pending.size === 0) this.#rest();
    if (pending === undefined) return;
    if ('code' in result) pending.reject(new LayerError(result.code, result.message));
    else pending.resolve(result);
  }

  #rest(): void {
    const worker = this.#worker;
    worker?.unref();
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      this.#worker = undefined;
      void worker?.terminate();
    }, this.#idleMs).unref();
  }

  #failAll(error: LayerError): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(error);
  }
}

/** A zTOC in a buffer of its own is not copied. */
function handedOver(bytes: Uint8Array | undefined): ArrayBuffer[] {
  return bytes?.buffer instanceof ArrayBuffer && bytes.length === bytes.buffer.byteLength ? [bytes.buffer] : [];
}
