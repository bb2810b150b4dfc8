import { describeError, hasCode } from '@soci/errors';
import type { ContentStore } from '@soci/content';
import type { Descriptor } from '@soci/image';
import type { Logger } from '@soci/log';

/** How long putting an artifact aside may take. */
const WRITE_TIMEOUT_MS = 60_000;

/**
 * Artifacts in the content store of `[content_store]`: asked first, filled behind the answer. A store that fails is no reason for a pull to fail.
 */
export class ArtifactCache implements AsyncDisposable {
  readonly #store: ContentStore;
  readonly #log: Logger;
  readonly #writing = new Set<Promise<void>>();
  readonly #stop = new AbortController();

  constructor(store: ContentStore, log: Logger) {
    this.#store = store;
    this.#log = log;
  }

  /** The blob, checked against its digest; undefined when it is not there. */
  async read(digest: string, maxBytes: number, signal: AbortSignal): Promise<Uint8Array | undefined> {
    try {
      return await this.#store.read(digest, maxBytes, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!hasCode(error, 'NOT_FOUND')) this.#log.warn({ digest, error }, 'content store cannot be read, asking the registry');
      return undefined;
    }
  }

  /** Keeps a blob, in pieces that nobody changes any more. */
  keep(descriptor: Descriptor, pieces: readonly Uint8Array[], labels: Readonly<Record<string, string>> = {}): void {
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(WRITE_TIMEOUT_MS)]);
    const writing = this.#store
      .write(descriptor, inTurn(pieces), { labels }, signal)
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted)
          this.#log.warn({ digest: descriptor.digest, error: describeError(error) }, 'artifact cannot be kept in the content store');
      })
      .finally(() => this.#writing.delete(writing));
    this.#writing.add(writing);
  }

  /** Settles when all that was to be kept is, or could not be. */
  async settled(): Promise<void> {
    await Promise.all(this.#writing);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('content cache is closed'));
    await this.settled();
  }
}

/** Labels by which containerd's garbage collector keeps an index, and with it the blobs it lists. */
export function keepLabels(blobs: readonly Descriptor[], now: Date): Record<string, string> {
  return {
    'containerd.io/gc.root': now.toISOString(),
    ...Object.fromEntries(blobs.map(({ digest }, i) => [`containerd.io/gc.ref.content.ztoc.${i}`, digest])),
  };
}

async function* inTurn(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  yield* pieces;
}
