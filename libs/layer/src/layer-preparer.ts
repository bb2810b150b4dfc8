import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Logger } from '@soci/log';
import { layerKey, type LayerNames, type LayerStore } from './layer-store.ts';
import { PrepareThread } from './prepare-thread.ts';
import { SharedWork } from './shared-work.ts';

export interface PrepareRequest {
  readonly layerDigest: string;
  readonly ztoc: {
    readonly digest: string;
    /** Fetches it; called only when it is not on disk. The buffer is handed over. */
    readonly fetch: (signal: AbortSignal) => Promise<Uint8Array>;
  };
  /** Keys of the layers below in this image, nearest first; each prepared before. */
  readonly lowers: readonly string[];
}

/**
 * Makes layers ready to be mounted: from a zTOC the index of spans and the EROFS image of the names. The work is done in a thread of its own,
 * each layer once.
 */
export class LayerPreparer implements AsyncDisposable {
  readonly #store: LayerStore;
  readonly #log: Logger;
  readonly #thread = new PrepareThread();
  /** What was prepared or is being, in this process. */
  readonly #known = new SharedWork<LayerNames>();
  readonly #syncing = new Set<Promise<void>>();

  constructor({ store, log }: { readonly store: LayerStore; readonly log: Logger }) {
    this.#store = store;
    this.#log = log;
  }

  /**
   * Prepares a layer above these lower ones; what was done before is not done again. Aborting gives up waiting, not the work.
   * @throws {LayerError} `DIGEST_MISMATCH`, `ZTOC_INVALID`, `NOT_SERVABLE`, `NOT_FOUND` when a lower layer was not prepared; and what fetching throws
   */
  async prepare(request: PrepareRequest, signal: AbortSignal): Promise<LayerNames> {
    const key = layerKey(request.layerDigest, request.ztoc.digest);
    return await this.#once(key, request.lowers, signal, async (shared) => {
      const isHere = this.#store.isPrepared(key);
      const bytes = isHere ? undefined : await request.ztoc.fetch(shared);
      try {
        return await this.#run(key, request.lowers, bytes === undefined ? undefined : { bytes, digest: request.ztoc.digest });
      } catch (error) {
        if (!isHere) throw error;
        this.#log.warn({ layerDigest: request.layerDigest, error }, 'prepared layer is damaged, will be prepared anew');
        return await this.#run(key, request.lowers, { bytes: await request.ztoc.fetch(shared), digest: request.ztoc.digest });
      }
    });
  }

  /**
   * Makes sure, from what is on disk alone, that a layer's index and its names image are whole.
   * @throws {LayerError} as `prepare`; `STORE_BROKEN` when the zTOC on disk is missing or damaged
   */
  async ensure(key: string, lowers: readonly string[], signal: AbortSignal): Promise<LayerNames> {
    return await this.#once(key, lowers, signal, () => this.#run(key, lowers, undefined));
  }

  /** A layer was removed from the store. */
  forget(key: string): void {
    for (const known of this.#known.keys()) if (known.split(',').includes(key)) this.#known.forget(known);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread[Symbol.asyncDispose]();
    await Promise.allSettled(this.#syncing);
  }

  #once(
    key: string,
    lowers: readonly string[],
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<LayerNames>,
  ): Promise<LayerNames> {
    return this.#known.run([key, ...lowers].join(), signal, work);
  }

  async #run(
    key: string,
    lowers: readonly string[],
    ztoc: { readonly bytes: Uint8Array; readonly digest: string } | undefined,
  ): Promise<LayerNames> {
    const store = this.#store;
    const { folder, ...paths } = store.paths(key);
    const { impliedKey, namesChecksum, written } = await this.#thread.prepare({
      key,
      folder,
      paths,
      ...(ztoc === undefined ? {} : { ztoc }),
      lowers: lowers.map((lower) => ({ key: lower, ztocPath: store.paths(lower).ztoc })),
      namesPrefix: `${folder}/names-`,
      namesChecksums: store.namesChecksums(key),
      temporaryPath: store.temporaryPath(),
    });
    const names = store.names(key, impliedKey, namesChecksum);
    store.notePrepared(key, lowers, impliedKey);
    if (written.length > 0) this.#sync(key, written);
    return names;
  }

  /** Puts new files on disk behind the answer: until then a power failure costs a layer that is prepared again. */
  #sync(key: string, written: readonly string[]): void {
    const syncing = syncFiles([...written, dirname(written[0] ?? '.')])
      .catch((error: unknown) => this.#log.warn({ layer: key, error }, 'files of a prepared layer cannot be flushed'))
      .finally(() => this.#syncing.delete(syncing));
    this.#syncing.add(syncing);
  }
}

async function syncFiles(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await using file = await open(path, 'r');
    await file.sync();
  }
}
