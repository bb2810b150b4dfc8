import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, isNotFound } from '@soci/errors';
import { isDigest, isIndexType, isManifestType, type Descriptor } from '@soci/image';
import { BlobCheck, splitDigest } from './blob-check.ts';
import { BLOB_MODE, CACHED_MODE, finishReleases, keepBlob, placeNew, releaseBlob } from './cached-blob.ts';
import { ContentError } from './errors.ts';
import { fileBlob, toContentError } from './file-blob.ts';
import { OciLayoutIndex } from './oci-layout-index.ts';
import { readWhole } from './read-whole.ts';
import type { BlobInfo, BlobReader, CachingStore, ListableStore, WriteOptions } from './store.ts';

const DIRECTORY_MODE = 0o700;
/** What a killed process left half written is taken away by a later one after this. */
const STALE_INGEST_MS = 24 * 60 * 60 * 1_000;

/**
 * Blobs in an OCI image layout on disk, as the Go tool keeps them: `blobs/<algorithm>/<hex>`, written under `ingest/` and moved when they are whole and checked.
 * Several processes may use one layout at a time. There are no labels: nothing collects garbage here, and only what was written as cached is given up.
 *
 * @see https://github.com/opencontainers/image-spec/blob/main/image-layout.md
 */
export class OciLayoutStore implements ListableStore, CachingStore {
  readonly kind = 'soci';
  readonly #root: string;
  readonly #index: OciLayoutIndex;
  #prepared: Promise<void> | undefined;

  /** @param root folder of the layout; made when something is written */
  constructor(root: string) {
    this.#root = root;
    this.#index = new OciLayoutIndex(root);
  }

  async stat(digest: string, signal: AbortSignal): Promise<BlobInfo | undefined> {
    signal.throwIfAborted();
    const path = this.#pathOf(digest);
    try {
      const found = await stat(path);
      if (!found.isFile()) throw new ContentError('STORE_BROKEN', `${path}: not a file`);
      return { digest, sizeBytes: found.size, labels: {} };
    } catch (cause) {
      if (isNotFound(cause)) return undefined;
      throw toContentError(path, cause);
    }
  }

  async open(digest: string, signal: AbortSignal): Promise<BlobReader> {
    const info = await this.stat(digest, signal);
    if (info === undefined) throw new ContentError('NOT_FOUND', `${digest}: not in ${this.#root}`);
    return fileBlob(this.#pathOf(digest), info.sizeBytes);
  }

  async read(digest: string, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    await using blob = await this.open(digest, signal);
    return await readWhole(digest, blob, maxBytes, signal);
  }

  async write(
    descriptor: Descriptor,
    content: Uint8Array | AsyncIterable<Uint8Array>,
    { cached = false }: WriteOptions,
    signal: AbortSignal,
  ): Promise<void> {
    const { digest } = descriptor;
    const path = this.#pathOf(digest);
    const isThere = (await this.stat(digest, signal)) !== undefined && (cached || (await this.#keep(path)));
    if (!isThere) {
      await (this.#prepared ??= this.#prepare());
      const ingest = join(this.#ingests, `${splitDigest(digest).hex}_${randomBytes(8).toString('hex')}`);
      try {
        await ingestFile(ingest, descriptor, content, cached ? CACHED_MODE : BLOB_MODE, signal);
        await mkdir(join(path, '..'), { recursive: true, mode: DIRECTORY_MODE });
        await (cached ? placeNew(ingest, path) : rename(ingest, path));
        await syncDirectory(join(path, '..'));
      } catch (cause) {
        await rm(ingest, { force: true });
        if (signal.aborted) throw signal.reason;
        throw toContentError(`write ${path}`, cause);
      }
    }
    if (isManifestType(descriptor.mediaType) || isIndexType(descriptor.mediaType)) await this.#index.add(descriptor);
  }

  async label(digest: string, _labels: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!(await this.#keep(this.#pathOf(digest)))) throw new ContentError('NOT_FOUND', `${digest}: not in ${this.#root}`);
  }

  async delete(digest: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const path = this.#pathOf(digest);
    try {
      await unlink(path);
    } catch (cause) {
      if (!isNotFound(cause)) throw toContentError(`delete ${path}`, cause);
    }
    await this.#index.remove(digest);
  }

  async release(digest: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const path = this.#pathOf(digest);
    await (this.#prepared ??= this.#prepare());
    try {
      if (!(await releaseBlob(path, splitDigest(digest), this.#ingests))) return;
    } catch (cause) {
      throw toContentError(`release ${path}`, cause);
    }
    await this.#index.remove(digest);
  }

  async *list(signal: AbortSignal): AsyncGenerator<BlobInfo> {
    for (const algorithm of await namesIn(join(this.#root, 'blobs'))) {
      for (const hex of await namesIn(join(this.#root, 'blobs', algorithm))) {
        const digest = `${algorithm}:${hex}`;
        const info = isDigest(digest) ? await this.stat(digest, signal) : undefined;
        if (info !== undefined) yield info;
      }
    }
  }

  async #keep(path: string): Promise<boolean> {
    try {
      return await keepBlob(path);
    } catch (cause) {
      throw toContentError(`keep ${path}`, cause);
    }
  }

  get #ingests(): string {
    return join(this.#root, 'ingest');
  }

  #pathOf(digest: string): string {
    const { algorithm, hex } = splitDigest(digest);
    return join(this.#root, 'blobs', algorithm, hex);
  }

  async #prepare(): Promise<void> {
    try {
      await mkdir(this.#ingests, { recursive: true, mode: DIRECTORY_MODE });
      await this.#index.create();
      await finishReleases(this.#ingests, (digest) => this.#pathOf(digest));
      await removeStaleIngests(this.#ingests);
    } catch (cause) {
      this.#prepared = undefined;
      throw toContentError(`prepare ${this.#root}`, cause);
    }
  }
}

async function ingestFile(
  path: string,
  { digest, size }: Descriptor,
  content: Uint8Array | AsyncIterable<Uint8Array>,
  mode: number,
  signal: AbortSignal,
): Promise<void> {
  const check = new BlobCheck(digest, size);
  await using file: FileHandle = await open(path, 'wx', 0o600);
  for await (const chunk of content instanceof Uint8Array ? [content] : content) {
    signal.throwIfAborted();
    check.update(chunk);
    await file.writeFile(chunk);
  }
  check.finish(size);
  await file.chmod(mode);
  await file.sync();
}

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r');
  await directory.sync();
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (cause) {
    if (isNotFound(cause)) return [];
    throw toContentError(directory, cause);
  }
}

async function removeStaleIngests(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    const found = await stat(path).catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    });
    if (found !== undefined && Date.now() - found.mtimeMs > STALE_INGEST_MS) await rm(path, { force: true });
  }
}
