import { fingerprint, type Credential } from './credential.ts';
import type { SourceChange } from './source.ts';

/** Who wants to know of changes of one source. */
export class ChangeListeners {
  readonly #listeners = new Set<(change: SourceChange) => void>();

  add(listener: (change: SourceChange) => void): Disposable {
    const own = (change: SourceChange): void => listener(change); // the same function may be added twice
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }

  clear(): void {
    this.#listeners.clear();
  }

  tell(change: SourceChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}

/** Fingerprints of what was given before and is not given now, under whatever key. */
export function withdrawnBetween(before: Iterable<Credential>, after: Iterable<Credential>): readonly string[] {
  const kept = new Set(Array.from(after, fingerprint));
  return Array.from(before, fingerprint).filter((print) => !kept.has(print));
}
