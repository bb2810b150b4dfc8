import { Worker } from 'node:worker_threads';
import { describeError } from '@soci/errors';
import type { FromThread, SharedBuild, ToThread } from './build-protocol.ts';
import type { ZtocAlgorithm } from './checkpoints.ts';
import type { BuiltZtoc } from './layer-scanner.ts';
import { ZtocError } from './ztoc-error.ts';

/** Bytes on their way to the thread: so many buffers of this size, filled again and again. */
const PIECE_BYTES = 256 * 1024;
const MAX_PIECES = 4;
/** How often somebody who wants to know is told how far a layer is. */
const PROGRESS_MS = 100;
const STOP_TIMEOUT_MS = 2000;
/** Layers are read with little garbage: a small young generation saves memory. */
const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 16 };

/** Where a layer's compressed bytes come from. */
export type LayerSource = { readonly path: string } | { readonly stream: AsyncIterable<Uint8Array> };

export interface BuildOptions {
  readonly algorithm: ZtocAlgorithm;
  /** At least 1; a `bigint` keeps values beyond 2^53 exact in the zTOC. Spans are at least this long, and end at ends of deflate blocks. */
  readonly spanSizeBytes: number | bigint;
  /** Who built it: text that the zTOC carries. */
  readonly buildTool: string;
}

interface Job {
  readonly shared: SharedBuild;
  readonly onProgress: ((bytesRead: number) => void) | undefined;
  readonly resolve: (result: BuiltZtoc) => void;
  readonly reject: (error: Error) => void;
}

/** A worker thread that reads one layer at a time. */
export class BuildThread implements AsyncDisposable {
  readonly #worker: Worker;
  readonly #free: ArrayBuffer[] = Array.from({ length: MAX_PIECES }, () => new ArrayBuffer(PIECE_BYTES));
  #wakeFeeder: (() => void) | undefined;
  #job: Job | undefined;
  #failure: ZtocError | undefined;
  readonly #exited: Promise<void>;

  constructor() {
    // The same file from source and from dist; the compiler does not rewrite suffixes in strings.
    const suffix = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    this.#worker = new Worker(new URL(`./worker.${suffix}`, import.meta.url), { name: 'ztoc', resourceLimits: RESOURCE_LIMITS });
    this.#worker.unref();
    this.#worker.on('message', (message: FromThread) => this.#receive(message));
    this.#worker.on('error', (cause) =>
      this.#die(new ZtocError('BUILDER_CLOSED', `ztoc thread failed: ${describeError(cause)}`, { cause })),
    );
    this.#exited = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        this.#die(new ZtocError('BUILDER_CLOSED', `ztoc thread ended with ${code}`));
        resolve();
      });
    });
  }

  /** Whether the thread is of no use any more. */
  get dead(): boolean {
    return this.#failure !== undefined;
  }

  /** Reads one layer. Not to be called again before the promise is settled. */
  async build(
    source: LayerSource,
    options: BuildOptions,
    signal: AbortSignal,
    onProgress?: (bytesRead: number) => void,
  ): Promise<BuiltZtoc> {
    signal.throwIfAborted();
    if (this.#failure) throw this.#failure;
    const cancel = () => this.#cancel();
    signal.addEventListener('abort', cancel);
    this.#worker.ref();
    const progress = onProgress && setInterval(() => this.#reportProgress(), PROGRESS_MS);
    try {
      const built = this.#start(source, options, onProgress);
      const fed = 'path' in source ? undefined : this.#feedUntil(built, source.stream, signal);
      // Both are awaited whatever happens, so that the thread is idle afterwards; what the source says about its failure counts for more.
      const [feeding, result] = await Promise.allSettled([fed, built]);
      signal.throwIfAborted();
      if (feeding.status === 'rejected')
        throw new ZtocError('READ_FAILED', `read layer: ${describeError(feeding.reason)}`, { cause: feeding.reason });
      if (result.status === 'rejected') throw result.reason;
      return result.value;
    } finally {
      clearInterval(progress);
      signal.removeEventListener('abort', cancel);
      this.#worker.unref();
    }
  }

  /** Lets the thread free what it holds and end; after a deadline it is ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.dead) {
      this.#cancel();
      this.#die(new ZtocError('BUILDER_CLOSED', 'ztoc builder closed'));
      this.#post({ kind: 'stop' });
    }
    const deadline = setTimeout(() => void this.#worker.terminate(), STOP_TIMEOUT_MS);
    await this.#exited;
    clearTimeout(deadline);
  }

  #start(source: LayerSource, { algorithm, spanSizeBytes, buildTool }: BuildOptions, onProgress: Job['onProgress']): Promise<BuiltZtoc> {
    const shared = {
      cancelled: new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)),
      bytesRead: new Float64Array(new SharedArrayBuffer(Float64Array.BYTES_PER_ELEMENT)),
    };
    const path = 'path' in source ? { path: source.path } : {};
    this.#post({ kind: 'build', algorithm, spanSize: BigInt(spanSizeBytes), buildTool, shared, ...path });
    return new Promise((resolve, reject) => {
      this.#job = { shared, onProgress, resolve, reject };
    });
  }

  #cancel(): void {
    if (this.#job) this.#job.shared.cancelled[0] = 1;
    this.#wakeFeeder?.();
  }

  /** Feeds the thread until it has failed, if it does: then the source is left, however long its next bytes take. */
  async #feedUntil(built: Promise<BuiltZtoc>, stream: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    const failed = new AbortController();
    built.catch(() => failed.abort());
    try {
      await this.#feed(stream, AbortSignal.any([signal, failed.signal]));
    } catch (error) {
      if (!failed.signal.aborted) throw error;
    }
  }

  /** Sends the stream on, a full buffer at a time and at most `MAX_PIECES` ahead, until it ends or nobody wants more. */
  async #feed(stream: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    let whole = false;
    const iterator = stream[Symbol.asyncIterator]();
    try {
      whole = await this.#feedFrom(iterator, signal);
    } finally {
      this.#post({ kind: 'end', whole });
      // A source that hangs must not hold up an abort: it is told, not waited for.
      if (!whole) void Promise.resolve(iterator.return?.()).catch(ignoreAfterEnd);
    }
  }

  async #feedFrom(iterator: AsyncIterator<Uint8Array>, signal: AbortSignal): Promise<boolean> {
    let buffer: ArrayBuffer | undefined;
    let fill = 0;
    const flush = () => {
      if (buffer) this.#post({ kind: 'piece', buffer, length: fill }, [buffer]);
      buffer = undefined;
      fill = 0;
    };
    try {
      for (;;) {
        const next = await abortable(iterator.next(), signal);
        if (next.done === true) break;
        for (let at = 0; at < next.value.length; ) {
          buffer ??= await this.#freeBuffer();
          if (!buffer || signal.aborted) return false;
          const part = next.value.subarray(at, at + PIECE_BYTES - fill);
          new Uint8Array(buffer).set(part, fill);
          fill += part.length;
          at += part.length;
          if (fill === PIECE_BYTES) flush();
        }
      }
      flush();
      return true;
    } finally {
      if (buffer) this.#free.push(buffer); // not sent: the next layer needs it
    }
  }

  /** A buffer to fill, once there is one; undefined when nobody wants more. */
  async #freeBuffer(): Promise<ArrayBuffer | undefined> {
    for (;;) {
      if (!this.#job) return undefined;
      const buffer = this.#free.pop();
      if (buffer) return buffer;
      await new Promise<void>((resolve) => {
        this.#wakeFeeder = resolve;
      });
      this.#wakeFeeder = undefined;
    }
  }

  #receive(message: FromThread): void {
    switch (message.kind) {
      case 'taken':
        this.#free.push(message.buffer);
        break;
      case 'built':
        this.#job?.onProgress?.(message.result.compressedSizeBytes);
        this.#endJob()?.resolve(message.result);
        break;
      case 'failed':
        this.#endJob()?.reject(new ZtocError(message.code, message.message));
        break;
    }
    this.#wakeFeeder?.();
  }

  #reportProgress(): void {
    if (this.#job) this.#job.onProgress?.(this.#job.shared.bytesRead[0] ?? 0);
  }

  #endJob(): Job | undefined {
    const job = this.#job;
    this.#job = undefined;
    return job;
  }

  #die(failure: ZtocError): void {
    this.#failure ??= failure;
    this.#endJob()?.reject(this.#failure);
    this.#wakeFeeder?.();
  }

  #post(message: ToThread, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer);
  }
}

/** The promise, or the signal's reason as soon as it is aborted. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason instanceof Error ? signal.reason : new Error('aborted', { cause: signal.reason }));
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    void promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** The source was abandoned: how it ends is of no interest. */
function ignoreAfterEnd(): void {
  return;
}
