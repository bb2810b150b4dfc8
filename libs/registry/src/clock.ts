import { setTimeout as delay } from 'node:timers/promises';

/** Time, as an argument. */
export interface Clock {
  /** Never goes back: for intervals. */
  readonly nowMs: () => number;
  /** The date, as `Date.now()`: for what servers say in dates. */
  readonly wallMs: () => number;
  /** @throws the signal's reason */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

export const SYSTEM_CLOCK: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  sleep: async (ms, signal) => {
    try {
      await delay(ms, undefined, { signal });
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  },
};
