/** So many at a time, in the order in which they came. */
export class Permits {
  readonly #queue: ((value: undefined) => void)[] = [];
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  /** @returns the permit, to be disposed of. Rejects with the signal's reason. */
  async take(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else await this.#wait(signal);
    return { [Symbol.dispose]: () => this.#giveBack() };
  }

  async #wait(signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const leave = (): void => {
      const place = this.#queue.indexOf(resolve);
      if (place < 0) return; // the permit is ours already
      this.#queue.splice(place, 1);
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', leave, { once: true });
    this.#queue.push(resolve);
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  #giveBack(): void {
    const next = this.#queue.shift();
    if (next === undefined) this.#free++;
    else next(undefined);
  }
}
