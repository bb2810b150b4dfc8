import { hasCode } from '@soci/errors';
import type { CachingStore } from '@soci/content';
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
}

/**
 * Artifacts in the content store of `[content_store]`: asked first, filled later, and emptied of what no image needs any more. A store that fails is no reason
 * for a pull to fail.
 */
export class ArtifactCache implements AsyncDisposable {
  readonly #store: CachingStore;
  readonly #log: Logger;
  readonly #writing = new Set<{ readonly digest: string; readonly written: Promise<void> }>();
  readonly #stop = new AbortController();
  readonly #delayMs: number;
  #waiting: readonly Waiting[] = [];
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(store: CachingStore, log: Logger, delayMs = DELAY_MS) {
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
  keep(descriptor: Descriptor, pieces: readonly Uint8Array[]): void {
    this.#waiting = [...this.#waiting, { descriptor, pieces }];
    this.#waitingBytes += descriptor.size;
    if (this.#waitingBytes > MAX_WAITING_BYTES) this.#writeWaiting();
    else this.#timer ??= setTimeout(() => this.#writeWaiting(), this.#delayMs).unref();
  }

  /** Takes artifacts out of the store, unless somebody else has put them there to stay. @throws {ContentError} */
  async release(digests: readonly string[], signal: AbortSignal): Promise<void> {
    const released = new Set(digests);
    this.#waiting = this.#waiting.filter(({ descriptor }) => !released.has(descriptor.digest));
    this.#waitingBytes = this.#waiting.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
    await Promise.all([...this.#writing].flatMap(({ digest, written }) => (released.has(digest) ? [written] : [])));
    for (const digest of released) await this.#store.release(digest, signal);
  }

  /** Settles when all that was to be kept is, or could not be. */
  async settled(): Promise<void> {
    this.#writeWaiting();
    await this.#allWritten();
  }

  /** What was not written by now can be fetched again. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('content cache is closed'));
    clearTimeout(this.#timer);
    await this.#allWritten();
  }

  async #allWritten(): Promise<void> {
    await Promise.all([...this.#writing].map(({ written }) => written));
  }

  #writeWaiting(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waitingBytes = 0;
    const all = this.#waiting;
    this.#waiting = [];
    for (const artifact of all) this.#write(artifact);
  }

  #write({ descriptor, pieces }: Waiting): void {
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(WRITE_TIMEOUT_MS)]);
    const written = this.#store
      .write(descriptor, inTurn(pieces), { cached: true }, signal)
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted)
          this.#log.warn({ digest: descriptor.digest, error }, 'artifact cannot be kept in the content store');
      })
      .finally(() => this.#writing.delete(entry));
    const entry = { digest: descriptor.digest, written };
    this.#writing.add(entry);
  }
}

async function* inTurn(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  yield* pieces;
}
