import { open, rename, rm, stat, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Logger } from '@soci/log';
import { Turnstile } from '@soci/process';
import { type BuiltZtoc, ZtocBuilder } from '@soci/ztoc';
import type { BlobSource } from './blob-source.ts';
import type { LayerSource } from './layer-source.ts';
import { LayerError } from './errors.ts';
import { fetchWhole, type WholeLayer } from './fetch-whole.ts';
import { fillLayer } from './fill-layer.ts';
import { roundUp } from './layer-data.ts';
import { layerKey } from './layer-key.ts';
import type { LayerNames, LayerStore } from './layer-store.ts';
import { PrepareThread } from './prepare-thread.ts';
import type { PrepareJob } from './prepare-worker.ts';
import { SharedWork } from './shared-work.ts';

export interface PrepareRequest {
  readonly layerDigest: string;
  /** Bytes of the blob, as the manifest says: the zTOC of another one is found out before anything is mounted. */
  readonly sizeBytes?: number;
  readonly ztoc: {
    readonly digest: string;
    /** Fetches it; called only when it is not on disk. The buffer is handed over. */
    readonly fetch: (signal: AbortSignal) => Promise<Uint8Array>;
  };
  /** Keys of the layers below in this image, nearest first; each prepared before. */
  readonly lowers: readonly string[];
}

export interface PrepareWholeRequest extends Omit<WholeLayer, 'digest'> {
  readonly layerDigest: string;
  /** As in `PrepareRequest`. */
  readonly lowers: readonly string[];
  /** Through which image it is fetched, and by whom. */
  readonly image: LayerSource;
  readonly source: BlobSource;
}

/** Spans of a layer that was fetched whole: they are only checked, never fetched. */
const WHOLE_SPAN_BYTES = 4 << 20;
const MAX_WHOLE_LAYERS = 3;

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
  /** Layers whose data was fetched whole or is being, in this process. */
  readonly #data = new SharedWork<undefined>();
  readonly #builder = new ZtocBuilder({ threads: 1 });
  readonly #wholeTurns = new Turnstile(MAX_WHOLE_LAYERS);
  readonly #syncing = new Set<Promise<void>>();

  constructor({ store, log }: { readonly store: LayerStore; readonly log: Logger }) {
    this.#store = store;
    this.#log = log;
  }

  /** Layers of an image are going to be prepared. */
  begin(): void {
    this.#thread.begin();
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
      const { sizeBytes } = request;
      try {
        return await this.#run(key, request.lowers, bytes === undefined ? undefined : { bytes, digest: request.ztoc.digest, sizeBytes });
      } catch (error) {
        if (!isHere) throw error;
        this.#log.warn({ layerDigest: request.layerDigest, error }, 'prepared layer is damaged, will be prepared anew');
        return await this.#run(key, request.lowers, { bytes: await request.ztoc.fetch(shared), digest: request.ztoc.digest, sizeBytes });
      }
    });
  }

  /**
   * Prepares a layer that has no zTOC of use: it is fetched whole, inflated and scanned. Afterwards all its spans are there.
   * @throws {LayerError} `DIGEST_MISMATCH`, `NOT_SERVABLE`, `TOO_LARGE`; and what the source throws
   */
  async prepareWhole(request: PrepareWholeRequest, signal: AbortSignal): Promise<LayerNames> {
    const { layerDigest, lowers } = request;
    const key = layerKey(layerDigest, undefined);
    return await this.#once(key, lowers, signal, async (shared) => {
      await this.#data.run(key, shared, (forData) => this.#fetchWhole(key, request, forData));
      return await this.#run(key, lowers, undefined);
    });
  }

  /**
   * Makes sure, from what is on disk alone, that a layer's index and its names image are whole.
   * @throws {LayerError} as `prepare`; `NOT_FOUND` when the zTOC on disk is missing, `STORE_BROKEN` when it is damaged
   */
  async ensure(key: string, lowers: readonly string[], signal: AbortSignal): Promise<LayerNames> {
    return await this.#once(key, lowers, signal, () => this.#run(key, lowers, undefined));
  }

  /** A layer was removed from the store. */
  forget(key: string): void {
    this.#data.forget(key);
    for (const known of this.#known.keys()) if (known.split(',').includes(key)) this.#known.forget(known);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread[Symbol.asyncDispose]();
    await this.#builder[Symbol.asyncDispose]();
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

  async #run(key: string, lowers: readonly string[], ztoc: PrepareJob['ztoc'] | undefined): Promise<LayerNames> {
    const store = this.#store;
    const { impliedKey, namesChecksum, written } = await this.#thread.prepare(this.#job(key, lowers, ztoc === undefined ? {} : { ztoc }));
    const names = store.names(key, impliedKey, namesChecksum);
    store.notePrepared(key, lowers, impliedKey);
    // Behind the answer: until then a power failure costs a layer that is prepared again.
    if (written.length > 0) this.#track(key, syncFiles([...written, dirname(names.path)]));
    return names;
  }

  async #fetchWhole(
    key: string,
    { layerDigest: digest, sizeBytes, diffId, image, source }: PrepareWholeRequest,
    signal: AbortSignal,
  ): Promise<undefined> {
    if (await this.#isFilled(key)) return undefined;
    using turn = new DisposableStack();
    turn.use(await this.#wholeTurns.enter(signal));
    const tarPath = this.#store.temporaryPath();
    try {
      await fetchWhole({ digest, sizeBytes, ...(diffId === undefined ? {} : { diffId }) }, image, source, tarPath, signal);
      const { bytes, digest: ztocDigest } = await this.#scan(digest, tarPath, signal);
      await this.#adopt(key, tarPath, { bytes, digest: ztocDigest });
    } finally {
      await rm(tarPath, { force: true });
    }
    return undefined;
  }

  async #scan(digest: string, path: string, signal: AbortSignal): Promise<BuiltZtoc> {
    try {
      return await this.#builder.build({ path }, { algorithm: 'uncompressed', spanSizeBytes: WHOLE_SPAN_BYTES, buildTool: 'soci' }, signal);
    } catch (cause) {
      signal.throwIfAborted();
      throw new LayerError('NOT_SERVABLE', `layer ${digest}: cannot be read as tar`, { cause });
    }
  }

  /** Makes a tar the data of a layer. */
  async #adopt(key: string, tarPath: string, ztoc: { readonly bytes: Uint8Array; readonly digest: string }): Promise<void> {
    const store = this.#store;
    const { spanChecksums, written } = await this.#thread.prepare(this.#job(key, [], { ztoc, tarPath }));
    if (store.isOpen(key)) {
      const layer = await store.openLayer(key);
      await fillLayer(layer, { tarPath }).finally(() => store.release(layer));
      return;
    }
    const { data, map } = store.paths(key);
    await rm(map, { force: true });
    await truncate(tarPath, roundUp((await stat(tarPath)).size));
    await rename(tarPath, data);
    const layer = await store.openLayer(key);
    layer.storedAll(spanChecksums);
    this.#track(key, Promise.all([syncFiles([...written, dirname(data)]), store.release(layer)]));
  }

  async #isFilled(key: string): Promise<boolean> {
    if (!this.#store.isPrepared(key)) return false;
    try {
      const layer = await this.#store.openLayer(key);
      const { isFilled } = layer;
      await this.#store.release(layer);
      return isFilled;
    } catch (error) {
      this.#log.warn({ layer: key, error }, 'layer on disk cannot be used, will be fetched again');
      return false;
    }
  }

  #job(key: string, lowers: readonly string[], extra: Pick<PrepareJob, 'ztoc' | 'tarPath'>): Omit<PrepareJob, 'id'> {
    const { folder, ...paths } = this.#store.paths(key);
    return {
      key,
      folder,
      paths,
      lowers: lowers.map((lower) => ({ key: lower, ztocPath: this.#store.paths(lower).ztoc })),
      namesPrefix: `${folder}/names-`,
      namesChecksums: this.#store.namesChecksums(key),
      temporaryPath: this.#store.temporaryPath(),
      ...extra,
    };
  }

  #track(key: string, work: Promise<unknown>): void {
    const tracked: Promise<void> = work
      .then(
        () => undefined,
        (error: unknown) => this.#log.warn({ layer: key, error }, 'files of a prepared layer cannot be flushed'),
      )
      .finally(() => this.#syncing.delete(tracked));
    this.#syncing.add(tracked);
  }
}

async function syncFiles(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await using file = await open(path, 'r');
    await file.sync();
  }
}
