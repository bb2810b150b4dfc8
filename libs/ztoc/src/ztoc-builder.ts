import { availableParallelism } from 'node:os';
import { type BuildOptions, BuildThread, type LayerSource } from './build-thread.ts';
import type { BuiltZtoc } from './layer-scanner.ts';
import { ZtocError } from './ztoc-error.ts';

/** An image has at most some hundreds of layers. */
const MAX_WAITING = 4096;
const MAX_SPAN_SIZE = 2n ** 63n - 1n;

export interface ZtocBuilderOptions {
  /** How many layers are read at the same time; as many as there are cores by default. */
  readonly threads?: number;
}

/** A build that waits for a slot: `start` gives it one. */
interface Waiting {
  readonly start: () => void;
}

/**
 * Builds zTOCs in worker threads, one layer a thread, in one pass over the compressed bytes. More layers than threads wait in line. Threads are started when
 * they are needed or by `warmUp`, kept for the next layer, and do not keep the process alive; dispose the builder to stop them.
 */
export class ZtocBuilder implements AsyncDisposable {
  #freeSlots: number;
  readonly #idle: BuildThread[] = [];
  readonly #busy = new Set<BuildThread>();
  readonly #waiting: Waiting[] = [];
  #closed = false;

  constructor({ threads = availableParallelism() }: ZtocBuilderOptions = {}) {
    this.#freeSlots = Math.max(1, threads);
  }

  /** Starts threads for so many layers beforehand, as far as that many may run: a thread needs a tenth of a second until it can read. */
  warmUp(layers: number): void {
    while (!this.#closed && this.#idle.length < Math.min(layers, this.#freeSlots)) this.#idle.push(new BuildThread());
  }

  /**
   * Reads a layer to its end and makes its zTOC: the bytes are the same, whatever the pieces it came in.
   *
   * @param source a file is read by the thread itself; a stream is sent to it, at most 1 MiB ahead, and left (`return`) when the build fails or is aborted
   * @param onProgress called ten times a second, and at the end, with how many compressed bytes were read
   * @throws {ZtocError} `LAYER_CORRUPT` when the layer is no gzip or tar, not whole, or something other than zeros follows it; `ENTRY_UNSUPPORTED` and
   *   `SPARSE_UNSUPPORTED` when it holds what the format cannot say; `TOO_LARGE`; `READ_FAILED` when the source fails; `BUSY` when too many wait already;
   *   `BUILDER_CLOSED` when it was disposed meanwhile. The signal's reason when aborted
   */
  async build(
    source: LayerSource,
    options: BuildOptions,
    signal: AbortSignal,
    onProgress?: (bytesRead: number) => void,
  ): Promise<BuiltZtoc> {
    const spanSize = BigInt(options.spanSizeBytes);
    if (spanSize < 1n || spanSize > MAX_SPAN_SIZE) throw new ZtocError('UNSUPPORTED', `span size ${spanSize.toString()}`);
    const thread = await this.#takeThread(signal);
    try {
      return await thread.build(source, options, signal, onProgress);
    } finally {
      this.#giveBack(thread);
    }
  }

  /** Stops all threads; builds that wait or run are rejected with `BUILDER_CLOSED`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const { start } of this.#waiting.splice(0)) start();
    await Promise.all([...this.#idle.splice(0), ...this.#busy].map((thread) => thread[Symbol.asyncDispose]()));
  }

  async #takeThread(signal: AbortSignal): Promise<BuildThread> {
    signal.throwIfAborted();
    if (this.#freeSlots > 0) this.#freeSlots--;
    else if (!this.#closed) await this.#wait(signal);
    if (this.#closed) throw new ZtocError('BUILDER_CLOSED', 'ztoc builder closed');
    const thread = this.#idle.pop() ?? new BuildThread();
    this.#busy.add(thread);
    return thread;
  }

  #wait(signal: AbortSignal): Promise<void> {
    if (this.#waiting.length >= MAX_WAITING) throw new ZtocError('BUSY', `${MAX_WAITING} layers wait for a thread`);
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        reject(signal.reason instanceof Error ? signal.reason : new Error('aborted', { cause: signal.reason }));
      };
      const waiting = {
        start: () => {
          signal.removeEventListener('abort', abort);
          resolve();
        },
      };
      this.#waiting.push(waiting);
      signal.addEventListener('abort', abort, { once: true });
    });
  }

  #giveBack(thread: BuildThread): void {
    this.#busy.delete(thread);
    if (!thread.dead) this.#idle.push(thread);
    const next = this.#waiting.shift();
    if (next) next.start();
    else this.#freeSlots++;
  }
}
