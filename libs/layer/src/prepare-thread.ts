import { Worker } from 'node:worker_threads';
import { LayerError } from './errors.ts';
import type { Prepared, PrepareJob, PrepareResult } from './prepare-worker.ts';
import { workerUrl } from './worker-url.ts';

/** The thread in which layers are prepared, one after the other: it keeps the trees that the next layers of an image need. */
export class PrepareThread implements AsyncDisposable {
  #worker: Worker | undefined;
  #nextId = 1;
  readonly #pending = new Map<number, { readonly resolve: (result: Prepared) => void; readonly reject: (error: LayerError) => void }>();
  #isClosed = false;

  /** The thread is started at once: the first pull shall not wait for it. */
  constructor() {
    this.#worker = this.#start();
    this.#worker.unref();
  }

  prepare(job: Omit<PrepareJob, 'id'>): Promise<Prepared> {
    if (this.#isClosed) return Promise.reject(new LayerError('CLOSED', 'layer preparation is closed'));
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
    if (this.#pending.size === 0) this.#worker?.unref();
    if (pending === undefined) return;
    if ('code' in result) pending.reject(new LayerError(result.code, result.message));
    else pending.resolve(result);
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
