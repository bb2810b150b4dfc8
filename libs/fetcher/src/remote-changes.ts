import type { BlobSourceChange } from '@soci/layer';
import { pause } from '@soci/process';
import type { fetch as api } from '@soci/proto';

/** The one method of the service that this needs. */
export type WatchChanges = (
  request: api.WatchChangesRequest,
  options: { readonly signal: AbortSignal; readonly deadlineMs: number },
) => AsyncIterable<api.WatchChangesResponse>;

const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 3_000;

/**
 * Hears of changes from a fetcher in another process for as long as somebody listens, and connects again when it went away. Its first answer
 * is about any registry, so that nothing is missed that changed meanwhile.
 */
export class RemoteChanges {
  readonly #watch: WatchChanges;
  readonly #listeners = new Set<(change: BlobSourceChange) => void>();
  #stop: AbortController | undefined;

  constructor(watch: WatchChanges) {
    this.#watch = watch;
  }

  add(listener: (change: BlobSourceChange) => void): Disposable {
    const own = (change: BlobSourceChange): void => listener(change); // the same function may be added twice
    this.#listeners.add(own);
    if (this.#stop === undefined) {
      this.#stop = new AbortController();
      void this.#run(this.#stop.signal); // ends with its signal and never throws
    }
    return { [Symbol.dispose]: () => this.#remove(own) };
  }

  #remove(listener: (change: BlobSourceChange) => void): void {
    this.#listeners.delete(listener);
    if (this.#listeners.size > 0) return;
    this.#stop?.abort(new Error('nobody listens to changes any more'));
    this.#stop = undefined;
  }

  async #run(signal: AbortSignal): Promise<void> {
    let pauseMs = MIN_PAUSE_MS;
    while (!signal.aborted) {
      const wasThere = await this.#hear(signal);
      pauseMs = wasThere ? MIN_PAUSE_MS : Math.min(MAX_PAUSE_MS, pauseMs * 2);
      await pause(pauseMs, signal);
    }
  }

  /** Until the fetcher goes away. @returns whether it was there */
  async #hear(signal: AbortSignal): Promise<boolean> {
    let wasThere = false;
    try {
      for await (const { hosts } of this.#watch({}, { signal, deadlineMs: Infinity })) {
        wasThere = true;
        this.#tell(hosts.length === 0 ? {} : { hosts });
      }
    } catch {
      // Whoever reads through a fetcher that is out of reach learns of that, and why.
    }
    return wasThere;
  }

  #tell(change: BlobSourceChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}
