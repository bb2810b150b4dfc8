import type { BlobSource, BlobSourceChange } from './blob-source.ts';
import { PendingChange } from './pending-change.ts';

const MIN_PAUSE_MS = 100;
/** Where changes never end: as often as without any. */
const MAX_PAUSE_MS = 2000;

/** Passes the changes of a source on: the first at once, those that follow closely as one, ever less often while there is no end of them. */
export class PacedChanges implements Disposable {
  readonly #pending = new PendingChange();
  readonly #subscription: Disposable | undefined;
  readonly #onChange: (change: BlobSourceChange) => void;
  #pause: NodeJS.Timeout | undefined;
  #pauseMs = MIN_PAUSE_MS;

  constructor(source: Pick<BlobSource, 'onChange'>, onChange: (change: BlobSourceChange) => void) {
    this.#onChange = onChange;
    this.#subscription = source.onChange?.((change) => {
      this.#pending.add(change);
      if (this.#pause === undefined) this.#pass();
    });
  }

  [Symbol.dispose](): void {
    this.#subscription?.[Symbol.dispose]();
    clearTimeout(this.#pause);
  }

  #pass(): void {
    const change = this.#pending.take();
    if (change === undefined) {
      this.#pause = undefined;
      this.#pauseMs = MIN_PAUSE_MS;
      return;
    }
    this.#pause = setTimeout(() => this.#pass(), this.#pauseMs).unref();
    this.#pauseMs = Math.min(MAX_PAUSE_MS, this.#pauseMs * 2);
    this.#onChange(change);
  }
}
