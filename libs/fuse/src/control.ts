/**
 * What the main thread and the serving threads tell each other without messages: a thread that sits in read(2) has no event loop.
 *
 * A change of slots is posted to both threads, then the epoch is raised, then it is mounted. A thread marks itself serving before it looks at the epoch;
 * so once the epoch is raised, a thread that is not serving cannot use what was taken away.
 */
const WORD = { epoch: 0, stop: 1, holding: 2, journaling: 3, resent: 4, workers: 5 } as const;
const WORKER_WORDS = 4;
const IS_SERVING = 0;
const SEEN_EPOCH = 1;

export class Control {
  readonly words: Int32Array<SharedArrayBuffer>;

  /** @param words those of the main thread's `Control`; left out there */
  constructor(workers: number, words = new Int32Array(new SharedArrayBuffer((WORD.workers + WORKER_WORDS * workers) * 4))) {
    this.words = words;
  }

  get epoch(): number {
    return Atomics.load(this.words, WORD.epoch);
  }

  raiseEpoch(): number {
    return Atomics.add(this.words, WORD.epoch, 1) + 1;
  }

  get isStopping(): boolean {
    return Atomics.load(this.words, WORD.stop) !== 0;
  }

  /** Threads end at their next request. */
  stop(): void {
    Atomics.store(this.words, WORD.stop, 1);
  }

  /** Requests for a slot that is not there are handed on instead of refused: it may be one that is not there yet. */
  get isHolding(): boolean {
    return Atomics.load(this.words, WORD.holding) !== 0;
  }

  setHolding(isHolding: boolean): void {
    Atomics.store(this.words, WORD.holding, isHolding ? 1 : 0);
  }

  /** What is handed on is entered into the journal: the kernel would not send it again. */
  get isJournaling(): boolean {
    return Atomics.load(this.words, WORD.journaling) !== 0;
  }

  setJournaling(isJournaling: boolean): void {
    Atomics.store(this.words, WORD.journaling, isJournaling ? 1 : 0);
  }

  /** Requests that the kernel sent again, because an earlier process had taken them. */
  get resent(): number {
    return Atomics.load(this.words, WORD.resent);
  }

  countResent(): void {
    Atomics.add(this.words, WORD.resent, 1);
  }

  setServing(worker: number, isServing: boolean): void {
    Atomics.store(this.words, WORD.workers + worker * WORKER_WORDS + IS_SERVING, isServing ? 1 : 0);
  }

  setSeen(worker: number, epoch: number): void {
    Atomics.store(this.words, WORD.workers + worker * WORKER_WORDS + SEEN_EPOCH, epoch);
  }

  /** Whether a thread may still act on what was before this epoch. */
  mayLag(worker: number, epoch: number): boolean {
    const at = WORD.workers + worker * WORKER_WORDS;
    return Atomics.load(this.words, at + IS_SERVING) !== 0 && Atomics.load(this.words, at + SEEN_EPOCH) < epoch;
  }
}
