interface Running<T> {
  readonly result: Promise<T>;
  readonly stop: AbortController;
  waiting: number;
}

/** Work that several ask for is done once; it is stopped when nobody waits for it any more. Results are kept until `forget`, failures are not. */
export class SharedWork<T> {
  readonly #running = new Map<string, Running<T>>();

  /** @throws what the work throws, or the reason of `signal` */
  async run(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const running = this.#running.get(key) ?? this.#start(key, work);
    running.waiting++;
    return await new Promise<T>((resolve, reject) => {
      const leave = (): void => {
        reject(signal.reason as Error);
        if (--running.waiting > 0) return;
        if (this.#running.get(key) === running) this.#running.delete(key);
        running.stop.abort(signal.reason);
      };
      signal.addEventListener('abort', leave, { once: true });
      running.result.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
    });
  }

  keys(): IterableIterator<string> {
    return this.#running.keys();
  }

  forget(key: string): void {
    this.#running.delete(key);
  }

  #start(key: string, work: (signal: AbortSignal) => Promise<T>): Running<T> {
    const stop = new AbortController();
    const running: Running<T> = { result: work(stop.signal), stop, waiting: 0 };
    this.#running.set(key, running);
    running.result.catch(() => {
      if (this.#running.get(key) === running) this.#running.delete(key);
    });
    return running;
  }
}
