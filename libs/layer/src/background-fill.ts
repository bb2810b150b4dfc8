/** `[background_fetch]` of config.toml. */
export interface BackgroundFillOptions {
  /** Pause after a layer that was not served before. */
  readonly silencePeriodMs: number;
  /** One span of one layer per period. */
  readonly fetchPeriodMs: number;
  /** Layers that wait; negative: no limit. */
  readonly maxQueueSize: number;
  /** Which layer is given up when the queue is full: the one in front, or the one that comes. */
  readonly dropPolicy: 'oldest' | 'newest';
}

export interface BackgroundFillHost<T> {
  now(): number;
  /** Somebody waits for bytes: the line is theirs. */
  isBusy(): boolean;
  /** Fetches one more span of a layer; whether there are more. */
  fillOne(layer: T): Promise<boolean>;
  evicted(): void;
}

/** Completes layers when nobody needs the line: a span a period, the layers in turn. */
export class BackgroundFill<T> implements Disposable {
  readonly #queue: T[] = [];
  readonly #options: BackgroundFillOptions;
  readonly #host: BackgroundFillHost<T>;
  readonly #timer: NodeJS.Timeout;
  #silentUntilMs = 0;
  #isFilling = false;
  /** The layer that a span is being fetched of, unless it was removed meanwhile. */
  #current: T | undefined;

  constructor(options: BackgroundFillOptions, host: BackgroundFillHost<T>) {
    this.#options = options;
    this.#host = host;
    this.#timer = setInterval(() => this.#tick(), options.fetchPeriodMs).unref();
  }

  get size(): number {
    return this.#queue.length;
  }

  add(layer: T): void {
    this.#silentUntilMs = this.#host.now() + this.#options.silencePeriodMs;
    if (this.#current !== layer && !this.#queue.includes(layer)) this.#enqueue(layer);
  }

  remove(layer: T): void {
    if (this.#current === layer) this.#current = undefined;
    const index = this.#queue.indexOf(layer);
    if (index >= 0) this.#queue.splice(index, 1);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#queue.length = 0;
  }

  #enqueue(layer: T): void {
    const { maxQueueSize, dropPolicy } = this.#options;
    if (maxQueueSize >= 0 && this.#queue.length >= maxQueueSize) {
      this.#host.evicted();
      if (dropPolicy === 'newest') return;
      this.#queue.shift();
    }
    this.#queue.push(layer);
  }

  #tick(): void {
    if (this.#isFilling || this.#host.now() < this.#silentUntilMs || this.#host.isBusy()) return;
    const layer = this.#queue.shift();
    if (layer === undefined) return;
    this.#isFilling = true;
    this.#current = layer;
    void this.#host
      .fillOne(layer)
      .then((hasMore) => {
        if (hasMore && this.#current === layer) this.#enqueue(layer);
      })
      .finally(() => {
        this.#isFilling = false;
        this.#current = undefined;
      });
  }
}
