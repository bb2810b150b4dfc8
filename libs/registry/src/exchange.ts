import type { Dispatcher } from 'undici';
import type { HttpResponse, ResponseBody } from './transport.ts';

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** Bytes that may wait for the reader before the connection is told to wait, too. */
const HIGH_WATER_BYTES = 256 * 1024;
const LOW_WATER_BYTES = 64 * 1024;
/** What is cheaper to read and drop than a new connection. */
const MAX_DRAIN_BYTES = 64 * 1024;

export interface ExchangeOptions {
  readonly signal: AbortSignal;
  /** For the attempt from now to the end of the body; 0 for none. */
  readonly timeoutMs: number;
  readonly timeoutError: () => Error;
  /** What a body has to bring in each period in which its reader takes what comes. */
  readonly progress: { readonly bytes: number; readonly withinMs: number };
  readonly progressError: () => Error;
  /** Makes what undici reports presentable. */
  readonly toError: (error: Error) => Error;
  readonly count: (bytes: number) => void;
}

/**
 * One request and its answer, directly on undici's dispatch interface: pieces of the body pass as undici cut them from the socket, without a stream and its
 * promises between, and an abort reaches the connection in whatever state it is.
 */
export class Exchange implements Dispatcher.DispatchHandler, HttpResponse, ResponseBody {
  status = 0;
  readonly body: ResponseBody = this;
  readonly #options: ExchangeOptions;
  readonly #head = Promise.withResolvers<HttpResponse>();
  readonly #timer: NodeJS.Timeout | undefined;
  #progressTimer: NodeJS.Timeout | undefined;
  #periodBytes = 0;
  #wasPaused = false;
  #headers: Headers = {};
  #controller: Dispatcher.DispatchController | undefined;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #drainedBytes = -1;
  #isEnded = false;
  #error: Error | undefined;
  #waiter: PromiseWithResolvers<boolean> | undefined;

  constructor(options: ExchangeOptions) {
    this.#options = options;
    options.signal.addEventListener('abort', this.#onAbort, { once: true });
    if (options.timeoutMs > 0) this.#timer = setTimeout(() => this.#cut(options.timeoutError()), options.timeoutMs);
  }

  /** Settles when the head of the answer is there. */
  get head(): Promise<HttpResponse> {
    return this.#head.promise;
  }

  headerLines(name: string): readonly string[] {
    const value = this.#headers[name];
    return value === undefined ? [] : typeof value === 'string' ? [value] : value;
  }

  header(name: string): string | undefined {
    return this.headerLines(name)[0];
  }

  take(): Uint8Array | undefined {
    const chunk = this.#queue.shift();
    if (chunk === undefined) return undefined;
    this.#queuedBytes -= chunk.length;
    if (this.#queuedBytes <= LOW_WATER_BYTES && this.#controller?.paused === true) this.#controller.resume();
    return chunk;
  }

  more(): Promise<boolean> {
    if (this.#queue.length > 0) return Promise.resolve(true);
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#isEnded) return Promise.resolve(false);
    this.#waiter ??= Promise.withResolvers<boolean>();
    return this.#waiter.promise;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      while (await this.more()) {
        for (let chunk = this.take(); chunk !== undefined; chunk = this.take()) yield chunk;
      }
    } finally {
      this.discard();
    }
  }

  discard(): void {
    this.#queue = [];
    this.#queuedBytes = 0;
    if (this.#isEnded || this.#drainedBytes >= 0) return;
    this.#drainedBytes = 0;
    if (this.#controller?.paused === true) this.#controller.resume();
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#error !== undefined) controller.abort(this.#error);
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: Headers): void {
    if (status < 200) return; // informational
    this.status = status;
    this.#headers = headers;
    const { bytes, withinMs } = this.#options.progress;
    if (bytes > 0 && !this.#isEnded) this.#progressTimer = setInterval(() => this.#checkProgress(bytes), withinMs);
    this.#head.resolve(this);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#options.count(chunk.length);
    this.#periodBytes += chunk.length;
    if (this.#drainedBytes >= 0) {
      this.#drainedBytes += chunk.length;
      if (this.#drainedBytes > MAX_DRAIN_BYTES) this.#cut(new Error('the rest of the body is not wanted'));
      return;
    }
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.length;
    if (this.#queuedBytes >= HIGH_WATER_BYTES) {
      this.#wasPaused = true;
      controller.pause();
    }
    this.#wake(true);
  }

  onResponseEnd(): void {
    this.#isEnded = true;
    this.#release();
    this.#wake(false);
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    this.fail(error);
  }

  /** Ends the exchange from outside, as when undici refuses the request at once. */
  fail(error: Error): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#error ??= this.#options.toError(error);
    this.#release();
    this.#head.reject(this.#error);
    this.#waiter?.reject(this.#error);
    this.#waiter = undefined;
  }

  readonly #onAbort = (): void => this.#cut(this.#options.signal.reason as Error);

  #cut(error: Error): void {
    if (this.#isEnded) return;
    this.#error ??= error;
    this.#controller?.abort(this.#error);
    this.fail(this.#error);
  }

  /** A period in which the connection had to wait for the reader says nothing. */
  #checkProgress(wantedBytes: number): void {
    if (this.#periodBytes < wantedBytes && !this.#wasPaused) this.#cut(this.#options.progressError());
    this.#periodBytes = 0;
    this.#wasPaused = this.#controller?.paused === true;
  }

  #wake(hasMore: boolean): void {
    this.#waiter?.resolve(hasMore);
    this.#waiter = undefined;
  }

  #release(): void {
    clearTimeout(this.#timer);
    clearInterval(this.#progressTimer);
    this.#options.signal.removeEventListener('abort', this.#onAbort);
  }
}
