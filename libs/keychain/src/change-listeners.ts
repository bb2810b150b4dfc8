import type { SourceChange } from './source.ts';

/** Who wants to know of changes of one source. */
export class ChangeListeners {
  readonly #listeners = new Set<(change: SourceChange) => void>();

  add(listener: (change: SourceChange) => void): Disposable {
    const own = (change: SourceChange): void => listener(change); // the same function may be added twice
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }

  tell(change: SourceChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}
