/** Runs so many tasks at a time; the others wait for their turn. */
export class ParallelLimit {
  readonly #max: number;
  readonly #queue: (() => void)[] = [];
  #running = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** @throws the signal's reason, when it has fired by the time the task's turn comes */
  async run<T>(signal: AbortSignal, task: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#max) await new Promise<void>((resolve) => this.#queue.push(resolve));
    else this.#running++;
    try {
      signal.throwIfAborted();
      return await task();
    } finally {
      const next = this.#queue.shift(); // it takes over our place
      if (next === undefined) this.#running--;
      else next();
    }
  }
}
