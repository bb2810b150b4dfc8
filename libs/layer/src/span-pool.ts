import { Worker } from 'node:worker_threads';
import { LayerError } from './errors.ts';
import type { LayerData } from './layer-data.ts';
import type { SpanJob, SpanJobResult } from './span-worker.ts';
import { workerUrl } from './worker-url.ts';

/** Spans that may be at work or wait for it; whoever brings more waits. */
const MAX_PENDING_JOBS = 16;

interface Pending {
  readonly resolve: (checksum: number) => void;
  readonly reject: (error: LayerError) => void;
}

/**
 * The thread that turns fetched spans into data on disk: digest, inflate, tar headers, write, checksum. The main thread only hands buffers over.
 * A thread that dies fails what it had and is started again.
 */
export class SpanPool implements AsyncDisposable {
  #worker: Worker | undefined;
  #nextId = 1;
  #isClosed = false;
  readonly #pending = new Map<number, Pending>();
  readonly #layers = new Map<number, LayerData>();
  readonly #numbers = new Map<LayerData, number>();
  readonly #waiters: (() => void)[] = [];

  /** Whoever has another span should wait for `hasRoom` first. */
  get isFull(): boolean {
    return this.#pending.size >= MAX_PENDING_JOBS;
  }

  /** Settles when another span may be handed in. */
  async hasRoom(): Promise<void> {
    while (this.isFull && !this.#isClosed) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  /** Makes a layer known; `close` it before its files are closed. */
  open(layer: LayerData): void {
    if (this.#numbers.has(layer)) return;
    const number = this.#nextId++;
    this.#numbers.set(layer, number);
    this.#layers.set(number, layer);
    this.#worker?.postMessage(openJob(number, layer));
  }

  close(layer: LayerData): void {
    const number = this.#numbers.get(layer);
    if (number === undefined) return;
    this.#numbers.delete(layer);
    this.#layers.delete(number);
    this.#post({ kind: 'close', layer: number });
  }

  /**
   * Checks a span's compressed bytes, inflates them and writes them to the data file.
   * @param input head-room of `SPAN_HEADROOM_BYTES`, then the bytes; its buffer is handed over and is empty afterwards
   * @returns checksum of the inflated bytes
   * @throws {LayerError} `DIGEST_MISMATCH`, `SPAN_INVALID`, `HEADER_MISMATCH`, `STORE_BROKEN`, `CLOSED`
   */
  store(layer: LayerData, span: number, input: Uint8Array<ArrayBuffer>): Promise<number> {
    return this.#run(layer, (id, number) => ({ kind: 'store', id, layer: number, span, input }), [input.buffer]);
  }

  /** Like `store` for bytes of the tar itself: only their headers can be checked. */
  storePlain(layer: LayerData, span: number, input: Uint8Array<ArrayBuffer>): Promise<number> {
    return this.#run(layer, (id, number) => ({ kind: 'store-plain', id, layer: number, span, input }), [input.buffer]);
  }

  /** Reads a span back and compares its checksum. @throws {LayerError} `DIGEST_MISMATCH`, `STORE_BROKEN`, `CLOSED` */
  verify(layer: LayerData, span: number): Promise<number> {
    return this.#run(layer, (id, number) => ({ kind: 'verify', id, layer: number, span, checksum: layer.expectedChecksum(span) }), []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#failAll(new LayerError('CLOSED', 'layer engine is closed'));
    await this.#worker?.terminate();
  }

  #run(layer: LayerData, job: (id: number, layer: number) => SpanJob, transfer: readonly ArrayBuffer[]): Promise<number> {
    const number = this.#numbers.get(layer);
    if (this.#isClosed || number === undefined) return Promise.reject(new LayerError('CLOSED', `layer ${layer.digest}: closed`));
    const id = this.#nextId++;
    return new Promise<number>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#post(job(id, number), transfer);
      if (this.#pending.size === 1) this.#worker?.ref();
    });
  }

  #post(job: SpanJob, transfer: readonly ArrayBuffer[] = []): void {
    this.#worker ??= this.#start();
    this.#worker.postMessage(job, transfer);
  }

  #start(): Worker {
    const worker = new Worker(workerUrl('span-worker', import.meta.url), { name: 'soci-spans' });
    worker.unref();
    worker.on('message', (result: SpanJobResult) => this.#settle(result));
    worker.on('error', (cause) => this.#lost(worker, cause));
    worker.on('exit', () => this.#lost(worker, undefined));
    for (const [number, layer] of this.#layers) worker.postMessage(openJob(number, layer));
    return worker;
  }

  #settle(result: SpanJobResult): void {
    const pending = this.#pending.get(result.id);
    this.#pending.delete(result.id);
    if (this.#pending.size === 0) this.#worker?.unref();
    this.#waiters.shift()?.();
    if (pending === undefined) return;
    if ('checksum' in result) pending.resolve(result.checksum);
    else pending.reject(new LayerError(result.code, result.message));
  }

  #lost(worker: Worker, cause: unknown): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#failAll(new LayerError('STORE_BROKEN', 'the thread that stores spans ended', { cause }));
  }

  #failAll(error: LayerError): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(error);
    for (const wake of this.#waiters.splice(0)) wake();
  }
}

function openJob(number: number, layer: LayerData): SpanJob {
  return { kind: 'open', layer: number, shared: layer.index.shared, dataFd: layer.dataFd, ztocFd: layer.ztocFd, onDisk: layer.onDisk };
}
