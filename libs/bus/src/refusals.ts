import type { Logger } from '@soci/log';
import type { BusCounters } from './bus-metrics.ts';

/** Why a message of another service is not taken. */
export type RefusalCode =
  | 'UNKNOWN_NODE' // there is no key of that node here
  | 'UNKNOWN_KEY' // sealed by a key that is not the sender's, or to one that is not ours
  | 'NOT_SEALED'
  | 'UNREADABLE' // cut, altered, or of another kind
  | 'WRONG_VERSION'
  | 'WRONG_NODE'
  | 'WRONG_PURPOSE'
  | 'WRONG_SUBJECT' // it is about something else than it says
  | 'CLOCK' // the clocks of both sides are too far apart, or it was sent before this service was started
  | 'EXPIRED'
  | 'REPLAYED'
  | 'WRONG_REPLY' // the answer would go where the sender has no inbox
  | 'TOO_LARGE'
  | 'BUSY'
  | 'FAILED';

/** A message that is not taken. */
export class Refused extends Error {
  override readonly name = 'Refused';
  readonly code: RefusalCode;

  constructor(code: RefusalCode) {
    super(code);
    this.code = code;
  }
}

const MAX_TOLD = 1_024;
/** Whoever goes on for long is told of again. */
const TELL_AGAIN_MS = 10 * 60 * 1_000;

/** Counts messages that were not taken, and logs each sender and reason once. What was in them is nobody's business. */
export class RefusalLog {
  readonly #log: Logger;
  readonly #counters: BusCounters;
  readonly #told = new Map<string, number>();

  constructor(log: Logger, counters: BusCounters) {
    this.#log = log;
    this.#counters = counters;
  }

  note(sender: string, method: string, reason: RefusalCode): void {
    this.#counters.refused(reason);
    const key = `${sender} ${reason}`;
    const now = performance.now();
    const before = this.#told.get(key);
    if (before !== undefined && now - before < TELL_AGAIN_MS) return;
    this.#told.delete(key);
    this.#told.set(key, now);
    for (const oldest of this.#told.keys()) {
      if (this.#told.size <= MAX_TOLD) break;
      this.#told.delete(oldest);
    }
    this.#log.warn({ sender, method, reason }, 'message on the bus refused; more of the kind are only counted');
  }
}
