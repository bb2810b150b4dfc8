/** After that long, earlier ends are forgotten. */
const STABLE_MS = 30_000;
const FIRST_DELAY_MS = 100;
const MAX_DELAY_READY_MS = 250;
const MAX_DELAY_MS = 10_000;

/** How long to wait before a service is started again: not at all the first time, then longer and longer; little for one that did serve, since readers wait for it. */
export class RestartDelay {
  #ends = 0;

  /** To be asked once for each end. @param livedMs since the service was started; @param wasReady whether it had come to serve */
  next(livedMs: number, wasReady: boolean): number {
    if (wasReady && livedMs >= STABLE_MS) this.#ends = 0;
    const delayMs = this.#ends === 0 ? 0 : FIRST_DELAY_MS * 2 ** (this.#ends - 1);
    this.#ends = Math.min(this.#ends + 1, 16);
    return Math.min(delayMs, wasReady ? MAX_DELAY_READY_MS : MAX_DELAY_MS);
  }
}
