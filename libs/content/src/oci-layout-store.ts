import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, isNotFound } from '@soci/errors';
import { isDigest, isIndexType, isManifestType, type Descriptor } from '@soci/image';
import { BlobCheck, splitDigest } from './blob-check.ts';
import { ContentError } from './errors.ts';
import { fileBlob, toContentError } from './file-blob.ts';
import { OciLayoutIndex } from './oci-layout-index.ts';
import { readWhole } from './read-whole.ts';
import type { BlobInfo, BlobReader, ListableStore, WriteOptions } from './store.ts';

const DIRECTORY_MODE = 0o700;
const BLOB_MODE = 0o444;
/** What a killed process left half written is taken away by a later one after this. */
const STALE_INGEST_MS = 24 * 60 * 60 * 1_000;

/**
 * Blobs in an OCI image layout on disk, as the Go tool keeps them: `blobs/<algorithm>/<hex>`, written under `ingest/` and moved when they are whole and checked.
 * Several processes may use one layout at a time. There are no labels: nothing collects garbage here.
 *
 * @see https://github.com/opencontainers/image-spec/blob/main/image-layout.md
 */
export class OciLayoutStore implements ListableStore {
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
    _options: WriteOptions,
    signal: AbortSignal,
  ): Promise<void> {
    const { digest } = descriptor;
    const path = this.#pathOf(digest);
    if ((await this.stat(digest, signal)) === undefined) {
      await (this.#prepared ??= this.#prepare());
      const ingest = join(this.#root, 'ingest', `${splitDigest(digest).hex}_${randomBytes(8).toString('hex')}`);
      try {
        await ingestFile(ingest, descriptor, content, signal);
        await mkdir(join(path, '..'), { recursive: true, mode: DIRECTORY_MODE });
        await rename(ingest, path);
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
    if ((await this.stat(digest, signal)) === undefined) throw new ContentError('NOT_FOUND', `${digest}: not in ${this.#root}`);
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

  async *list(signal: AbortSignal): AsyncGenerator<BlobInfo> {
    for (const algorithm of await namesIn(join(this.#root, 'blobs'))) {
      for (const hex of await namesIn(join(this.#root, 'blobs', algorithm))) {
        const digest = `${algorithm}:${hex}`;
        const info = isDigest(digest) ? await this.stat(digest, signal) : undefined;
        if (info !== undefined) yield info;
      }
    }
  }

  #pathOf(digest: string): string {
    const { algorithm, hex } = splitDigest(digest);
    return join(this.#root, 'blobs', algorithm, hex);
  }

  async #prepare(): Promise<void> {
    try {
      await mkdir(join(this.#root, 'ingest'), { recursive: true, mode: DIRECTORY_MODE });
      await this.#index.create();
      await removeStaleIngests(join(this.#root, 'ingest'));
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
  await file.chmod(BLOB_MODE);
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
