/** After that long, earlier ends are forgotten. */
const STABLE_MS = 30_000;
/** For one that did serve: its readers wait. */
const READY_DELAY_MS = 100;
const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 10_000;
const MAX_DOUBLINGS = 16;

/** How long to wait before a service is started again: not at all the first time; a moment when one that serves ends often; longer and longer for one that does not come to serve. */
export class RestartDelay {
  #ends = 0;
  /** Of services that did not serve, one after the other: one that is killed while it starts is none that cannot. */
  #failures = 0;

  /** To be asked once for each end. @param livedMs since the service was started; @param wasReady whether it had come to serve */
  next(livedMs: number, wasReady: boolean): number {
    if (!wasReady) {
      const delayMs = this.#failures === 0 ? 0 : FIRST_DELAY_MS * 2 ** (this.#failures - 1);
      this.#failures = Math.min(this.#failures + 1, MAX_DOUBLINGS);
      return Math.min(delayMs, MAX_DELAY_MS);
    }
    this.#failures = 0;
    if (livedMs >= STABLE_MS) this.#ends = 0;
    return this.#ends++ === 0 ? 0 : READY_DELAY_MS;
  }
}
