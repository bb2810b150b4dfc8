import { orAborted } from './or-aborted.ts';

/** Lets one piece of work at a time hold a key; those that wait get it in the order in which they asked. */
export class KeyLocks {
  readonly #tails = new Map<string, Promise<unknown>>();

  /**
   * Runs `work` while nobody else holds `key`.
   * @throws the signal's reason when it aborts before the key is free; what `work` throws
   */
  async run<T>(key: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const before = this.#tails.get(key);
    const { promise: done, resolve: release } = Promise.withResolvers<undefined>();
    const tail = Promise.all([before, done]);
    this.#tails.set(key, tail);
    try {
      if (before !== undefined) await orAborted(before, signal);
      return await work();
    } finally {
      release(undefined);
      if (this.#tails.get(key) === tail) void tail.then(() => this.#forget(key, tail));
    }
  }

  #forget(key: string, tail: Promise<unknown>): void {
    if (this.#tails.get(key) === tail) this.#tails.delete(key);
  }
}
