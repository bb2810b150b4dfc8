import { unwatchFile, watchFile } from 'node:fs';

const LOOK_EVERY_MS = 1_000;

/** A path that is looked at every second while somebody wants to know: by its name, since tools put a new file in the place of the old one. */
export class PolledPath {
  readonly #path: string;
  readonly #onChange: () => void;
  #watchers = 0;

  constructor(path: string, onChange: () => void) {
    this.#path = path;
    this.#onChange = onChange;
  }

  /** Looks until disposed of. */
  watch(): Disposable {
    if (this.#watchers++ === 0) watchFile(this.#path, { persistent: false, interval: LOOK_EVERY_MS }, this.#onChange);
    let isOver = false;
    return {
      [Symbol.dispose]: () => {
        if (!isOver && --this.#watchers === 0) unwatchFile(this.#path, this.#onChange);
        isOver = true;
      },
    };
  }
}
