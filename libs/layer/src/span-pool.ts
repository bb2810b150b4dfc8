import { Worker } from 'node:worker_threads';
import { LayerError } from './errors.ts';
import type { LayerData } from './layer-data.ts';
import { blobLength } from './span-index.ts';
import { SpanMemory } from './span-memory.ts';
import type { SpanJob, SpanJobResult } from './span-worker.ts';
import { type SpanLink, SpanWriter } from './span-writer.ts';
import { workerUrl } from './worker-url.ts';

/** So long after the last span the thread is ended: most of a node's life nothing is fetched. */
const IDLE_MS = 30_000;
/** Spans that may be at work or on their way; whoever brings more waits. */
const MAX_PENDING_JOBS = 64;

interface Pending {
  readonly resolve: (checksum: number) => void;
  readonly reject: (error: LayerError) => void;
}

/**
 * The thread that turns fetched spans into data on disk: digest, inflate, tar headers, write, checksum. The main thread only hands buffers over.
 * A thread that dies fails what it had and is started again; one that has nothing to do is ended until there is.
 */
export class SpanPool implements AsyncDisposable {
  #worker: Worker | undefined;
  #nextId = 1;
  readonly #idleMs: number;
  #idle: NodeJS.Timeout | undefined;
  #isClosed = false;
  readonly #pending = new Map<number, Pending>();
  readonly #layers = new Map<number, LayerData>();
  readonly #numbers = new Map<LayerData, number>();
  readonly #waiters: (() => void)[] = [];
  readonly #memory = new SpanMemory();

  constructor(idleMs = IDLE_MS) {
    this.#idleMs = idleMs;
  }

  /** Starts the thread where it does not run: spans are being asked for, and shall not wait for it. */
  begin(): void {
    if (this.#isClosed) return;
    this.#worker ??= this.#start();
    if (this.#pending.size === 0) this.#rest();
  }

  /** Whoever has another span should wait for `hasRoom` first. */
  get isFull(): boolean {
    return this.#pending.size >= MAX_PENDING_JOBS;
  }

  /** Settles when another span may be handed in. */
  async hasRoom(): Promise<void> {
    while (this.isFull && !this.#isClosed) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  /** Makes a layer known. The thread opens its files itself: what it still does when they are closed here hits no other file. */
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
    this.#worker?.postMessage({ kind: 'close', layer: number } satisfies SpanJob);
  }

  /**
   * Waits until there is memory for a span.
   * @returns what `write` or `storePlain` takes
   * @throws the signal's reason
   */
  admit(layer: LayerData, span: number, signal: AbortSignal): Disposable | Promise<Disposable> {
    return this.#memory.enter(layer.index, span, signal);
  }

  /** Begins to store a span whose compressed bytes are coming. Counts as work, and holds its memory, until it is stored or abandoned. */
  write(layer: LayerData, span: number, memory: Disposable): SpanWriter {
    using owned = new DisposableStack();
    owned.use(memory);
    const number = this.#numberOf(layer);
    const id = this.#nextId++;
    const held = owned.move();
    const result = this.#expect(id).finally(() => held.dispose());
    result.catch(() => undefined); // heard of by whoever asks for it, once the span is complete
    const link: SpanLink = {
      result,
      send: (bytes, isLast) => this.#post({ kind: 'piece', id, layer: number, span, bytes, isLast }, [bytes.buffer]),
      abandon: () => {
        if (!this.#pending.has(id)) return;
        this.#post({ kind: 'abandon', id });
        this.#settle({ id, code: 'CLOSED', message: 'abandoned' });
      },
    };
    return new SpanWriter(link, blobLength(layer.index, span));
  }

  /**
   * Stores a span's bytes of the tar itself: only their headers can be checked.
   * @throws {LayerError} `SPAN_INVALID`, `HEADER_MISMATCH`, `STORE_BROKEN`, `CLOSED`
   */
  async storePlain(layer: LayerData, span: number, bytes: Uint8Array<ArrayBuffer>, memory?: Disposable): Promise<number> {
    using held = new DisposableStack();
    held.use(memory);
    const number = this.#numberOf(layer);
    const id = this.#nextId++;
    const result = this.#expect(id);
    this.#post({ kind: 'plain', id, layer: number, span, bytes }, [bytes.buffer]);
    return await result;
  }

  /** Reads a span back and compares its checksum. @throws {LayerError} `DIGEST_MISMATCH`, `STORE_BROKEN`, `CLOSED` */
  async verify(layer: LayerData, span: number): Promise<number> {
    const number = this.#numberOf(layer);
    const id = this.#nextId++;
    const result = this.#expect(id);
    this.#post({ kind: 'verify', id, layer: number, span, checksum: layer.expectedChecksum(span) });
    return await result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#idle);
    this.#failAll(new LayerError('CLOSED', 'layer engine is closed'));
    await this.#worker?.terminate();
  }

  #numberOf(layer: LayerData): number {
    const number = this.#numbers.get(layer);
    if (this.#isClosed || number === undefined) throw new LayerError('CLOSED', `layer ${layer.digest}: closed`);
    return number;
  }

  #expect(id: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      clearTimeout(this.#idle);
      this.#worker ??= this.#start();
      if (this.#pending.size === 1) this.#worker.ref();
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
    if (this.#pending.size === 0) this.#rest();
    this.#waiters.shift()?.();
    if (pending === undefined) return;
    if ('checksum' in result) pending.resolve(result.checksum);
    else pending.reject(new LayerError(result.code, result.message));
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
  return {
    kind: 'open',
    layer: number,
    shared: layer.index.shared,
    dataPath: layer.paths.data,
    ztocPath: layer.paths.ztoc,
    onDisk: layer.onDisk,
  };
}
