/** One run of a task for all who ask for the same key at the same time. */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>();

  /**
   * Joins the run that is under way for this key, or starts one. A caller that gives up leaves the run to the others;
   * the run's own signal fires when the last of them has left. An outcome is for those who waited: nothing is kept.
   */
  async run(key: string, signal: AbortSignal, task: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const flight = this.#flights.get(key) ?? this.#start(key, task);
    flight.waiters++;
    const { promise: left, reject } = Promise.withResolvers<never>();
    const leave = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([flight.outcome, left]);
    } finally {
      signal.removeEventListener('abort', leave);
      if (--flight.waiters === 0) this.#abandon(key, flight);
    }
  }

  #start(key: string, task: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const outcome = task(controller.signal);
    const flight: Flight<T> = { outcome, controller, waiters: 0 };
    this.#flights.set(key, flight);
    const land = (): void => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    };
    outcome.then(land, land); // the waiters see the error; here it only ends the flight
    return flight;
  }

  #abandon(key: string, flight: Flight<T>): void {
    if (this.#flights.get(key) !== flight) return;
    this.#flights.delete(key);
    flight.controller.abort();
  }
}

interface Flight<T> {
  readonly outcome: Promise<T>;
  readonly controller: AbortController;
  waiters: number;
}
