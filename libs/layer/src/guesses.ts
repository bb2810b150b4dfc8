/** Guesses that are made before it is known whether they are any good. */
const FREE_GUESSES = 4;
/** So many guesses in a hundred have to be used: a fetched span delays the next one by a third of what a used one saves. */
const MIN_USED_PERCENT = 40;

/**
 * Keeps count of spans that were fetched along with the one before them, although nobody read on: programs that start read a layer here and there, but often close by.
 * Whether that holds is a property of the layer, so each has its own count.
 */
export class Guesses {
  readonly #pending: Uint8Array;
  #made = 0;
  #used = 0;

  constructor(spanCount: number) {
    this.#pending = new Uint8Array(spanCount);
  }

  get isWorthwhile(): boolean {
    return this.#made < FREE_GUESSES || this.#used * 100 >= this.#made * MIN_USED_PERCENT;
  }

  made(span: number): void {
    this.#pending[span] = 1;
    this.#made++;
  }

  /** A span is read for the first time. */
  touched(span: number): void {
    if (this.#pending[span] !== 1) return;
    this.#pending[span] = 0;
    this.#used++;
  }
}
