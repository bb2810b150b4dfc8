import { constants } from 'node:os';
import { errnoName, rawPread, rawWrite } from '@soci/linux';
import { type Journal, NO_ENTRY, type OwedRequest } from './journal.ts';
import { type Miss, Responder } from './responder.ts';
import { type Slot, toSlot } from './slot.ts';

const { ENOENT, ENODEV } = constants.errno;

export interface OwedRequestsOptions {
  readonly fd: number;
  readonly journal: Journal | undefined;
  readonly onMiss: (miss: Miss) => void;
  /** The kernel did not take an answer. */
  readonly onRefused: (errno: string) => void;
}

interface Owed {
  /** Exactly so many bytes are the answer. */
  readonly sizeBytes: number;
  readonly entry: number;
}

/**
 * The requests that the serving threads could not answer, on the main thread: misses, until somebody answers them, and requests for slots that are not
 * there yet. One entry for each request that the kernel holds, which bounds them.
 */
export class OwedRequests {
  readonly #options: OwedRequestsOptions;
  readonly #slots = new Map<number, Slot>();
  readonly #responder: Responder;
  /** By the lower word of the request's number. */
  readonly #misses = new Map<number, Owed>();
  /** By slot. */
  readonly #held = new Map<number, OwedRequest[]>();
  #isHolding = false;
  #entry = NO_ENTRY;

  constructor(options: OwedRequestsOptions) {
    this.#options = options;
    this.#responder = new Responder({
      slots: this.#slots,
      pread: rawPread,
      onMiss: (miss) => {
        this.#misses.set(miss.uniqueLow, { sizeBytes: miss.sizeBytes, entry: this.#entry });
        options.onMiss(miss);
        return true;
      },
      onInit: () => undefined,
    });
  }

  get heldCount(): number {
    return this.#held.values().reduce((sum, { length }) => sum + length, 0);
  }

  hold(): void {
    this.#isHolding = true;
  }

  /** Whatever is not there now never will be. */
  release(): void {
    this.#isHolding = false;
    for (const slot of [...this.#held.keys()]) this.#answerHeld(slot);
  }

  /** What waited for the slot is answered after the caller is done with what it does now. */
  addSlot(slot: Slot): void {
    this.#slots.set(slot.slot, slot);
    if (this.#held.has(slot.slot)) setImmediate(() => this.#answerHeld(slot.slot));
  }

  removeSlot(slot: number): void {
    this.#slots.delete(slot);
  }

  /** Answers it, makes a miss of it, or keeps it for its slot. */
  take(request: OwedRequest): void {
    const { slot } = toSlot(request.node);
    if (!this.#isHolding || slot === 0 || this.#slots.has(slot)) {
      this.#answer(request);
      return;
    }
    const held = this.#held.get(slot);
    if (held === undefined) this.#held.set(slot, [request]);
    else held.push(request);
  }

  /** Bytes that a miss wants; `undefined` when nobody waits for that answer. */
  wantedBytes(uniqueLow: number): number | undefined {
    return this.#misses.get(uniqueLow)?.sizeBytes;
  }

  /** A miss was answered. */
  settle(uniqueLow: number): void {
    const owed = this.#misses.get(uniqueLow);
    if (owed === undefined) return;
    this.#misses.delete(uniqueLow);
    this.#options.journal?.remove(owed.entry);
  }

  #answerHeld(slot: number): void {
    const requests = this.#held.get(slot) ?? [];
    this.#held.delete(slot);
    for (const request of requests) this.#answer(request);
  }

  #answer(request: OwedRequest): void {
    const { fd, journal, onRefused } = this.#options;
    this.#entry = request.entry;
    const lengthBytes = this.#responder.answerPlain(request);
    if (lengthBytes === 0) return;
    const put = rawWrite(fd, this.#responder.reply, lengthBytes);
    if (put < 0 && put !== -ENOENT && put !== -ENODEV) onRefused(errnoName(-put));
    journal?.remove(request.entry);
  }
}
