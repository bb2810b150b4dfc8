import { hasCode } from '@soci/errors';
import type { ContentStore } from '@soci/content';
import type { Descriptor } from '@soci/image';
import type { Logger } from '@soci/log';

/** How long putting an artifact aside may take. */
const WRITE_TIMEOUT_MS = 60_000;
const DELAY_MS = 10_000;
/** Above that nothing is put off. */
const MAX_WAITING_BYTES = 64 << 20;

interface Waiting {
  readonly descriptor: Descriptor;
  readonly pieces: readonly Uint8Array[];
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * Artifacts in the content store of `[content_store]`: asked first, filled later. A store that fails is no reason for a pull to fail.
 */
export class ArtifactCache implements AsyncDisposable {
  readonly #store: ContentStore;
  readonly #log: Logger;
  readonly #writing = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  readonly #delayMs: number;
  readonly #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(store: ContentStore, log: Logger, delayMs = DELAY_MS) {
    this.#store = store;
    this.#log = log;
    this.#delayMs = delayMs;
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

  /**
   * Keeps a blob, in pieces that nobody changes any more; after a while, so that the container that is about to start has disk and processor
   * for itself.
   */
  keep(descriptor: Descriptor, pieces: readonly Uint8Array[], labels: Readonly<Record<string, string>> = {}): void {
    this.#waiting.push({ descriptor, pieces, labels });
    this.#waitingBytes += descriptor.size;
    if (this.#waitingBytes > MAX_WAITING_BYTES) this.#writeWaiting();
    else this.#timer ??= setTimeout(() => this.#writeWaiting(), this.#delayMs).unref();
  }

  /** Settles when all that was to be kept is, or could not be. */
  async settled(): Promise<void> {
    this.#writeWaiting();
    await Promise.all(this.#writing);
  }

  /** What was not written by now can be fetched again. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('content cache is closed'));
    clearTimeout(this.#timer);
    await Promise.all(this.#writing);
  }

  #writeWaiting(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waitingBytes = 0;
    for (const artifact of this.#waiting.splice(0)) this.#write(artifact);
  }

  #write({ descriptor, pieces, labels }: Waiting): void {
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(WRITE_TIMEOUT_MS)]);
    const writing = this.#store
      .write(descriptor, inTurn(pieces), { labels }, signal)
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted)
          this.#log.warn({ digest: descriptor.digest, error }, 'artifact cannot be kept in the content store');
      })
      .finally(() => this.#writing.delete(writing));
    this.#writing.add(writing);
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
