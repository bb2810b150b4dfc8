import type { ContentStore } from '@soci/content';
import {
  isDigest,
  type Descriptor,
  ImageError,
  type ImageReference,
  MAX_MANIFEST_BYTES,
  MEDIA_TYPE,
  parseManifest,
  parseReference,
} from '@soci/image';
import { annotation, ANNOTATION, parseSociIndex, sociArtifactType } from '@soci/index';
import { type BlobRequest, Turnstile } from '@soci/layer';
import type { Logger } from '@soci/log';
import type { RegistryClient } from '@soci/registry';
import { ArtifactCache, keepLabels } from './artifact-cache.ts';
import { checkedArtifact } from './checked-artifact.ts';
import { FetcherError } from './errors.ts';
import type { ServableFetcher } from './fetch-service.ts';
import type { ArtifactRequest, IndexOrigin, ResolvedImage, ResolveImageRequest } from './image-fetcher.ts';
import { type ImageDocuments, parsed, toResolvedImage } from './resolved-image.ts';

export interface RegistryImageFetcherOptions {
  readonly registry: Pick<RegistryClient, 'fetchManifest' | 'fetchBlob' | 'readBlobRange' | 'referrers'>;
  readonly log: Logger;
  /** Where artifacts are looked for first and kept. */
  readonly store?: ContentStore;
  readonly now?: () => Date;
}

/** zTOCs and other artifacts fetched at the same time. */
const MAX_PARALLEL_ARTIFACTS = 8;
interface Document {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

/** The fetcher that speaks to registries itself. */
export class RegistryImageFetcher implements ServableFetcher, AsyncDisposable {
  readonly #registry: RegistryImageFetcherOptions['registry'];
  readonly #log: Logger;
  readonly #cache: ArtifactCache | undefined;
  readonly #now: () => Date;
  readonly #artifacts = new Turnstile(MAX_PARALLEL_ARTIFACTS);

  constructor({ registry, log, store, now = () => new Date() }: RegistryImageFetcherOptions) {
    this.#registry = registry;
    this.#log = log;
    this.#cache = store === undefined ? undefined : new ArtifactCache(store, log);
    this.#now = now;
  }

  async resolveImage(request: ResolveImageRequest, signal: AbortSignal): Promise<ResolvedImage> {
    return toResolvedImage(await this.resolveDocuments(request, signal));
  }

  async resolveDocuments(request: ResolveImageRequest, signal: AbortSignal): Promise<ImageDocuments> {
    const reference = toReference(request.reference);
    const manifest = this.#manifest(reference, request.manifestDigest, signal);
    manifest.catch(() => undefined); // awaited below; finding the index may fail first
    const found = await this.#findIndex(request, reference, manifest, signal);
    const [image, index] = await Promise.all([manifest, this.#index(reference, found.digest, signal)]);
    this.#log.info({ digest: index.descriptor.digest, ref: request.reference }, 'fetching SOCI artifacts using index descriptor');
    return { manifest: image, index, indexOrigin: found.origin };
  }

  async readArtifact({ reference, descriptor }: ArtifactRequest, signal: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const { digest, size } = checkedArtifact(descriptor);
    using turn = new DisposableStack();
    turn.use(await this.#artifacts.enter(signal));
    const cached = await this.#cache?.read(digest, size, signal);
    if (cached?.length === size) return ownBuffer(cached);
    const bytes = new Uint8Array(size);
    const pieces: Uint8Array[] = [];
    let filled = 0;
    for await (const piece of this.#registry.fetchBlob(toReference(reference), descriptor, signal)) {
      bytes.set(piece, filled); // the client sends no more than `size`
      filled += piece.length;
      pieces.push(piece);
    }
    this.#cache?.keep({ mediaType: MEDIA_TYPE.ztoc, digest, size }, pieces);
    return bytes;
  }

  async *read({ reference, digest, offsetBytes, lengthBytes }: BlobRequest, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    if (!isDigest(digest)) throw new FetcherError('REQUEST_INVALID', `blob ${digest.slice(0, 100)}: no such digest`);
    yield* this.#registry.readBlobRange(toReference(reference), digest, { offsetBytes, lengthBytes }, signal);
  }

  /** Settles when all that was fetched is in the content store. */
  async settled(): Promise<void> {
    await this.#cache?.settled();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cache?.[Symbol.asyncDispose]();
  }

  async #findIndex(
    { reference: ref, manifestDigest, indexDigest, pullModes }: ResolveImageRequest,
    reference: ImageReference,
    manifest: Promise<Document>,
    signal: AbortSignal,
  ): Promise<{ readonly digest: string; readonly origin: IndexOrigin }> {
    const log = this.#log.child({ ref });
    if (indexDigest !== undefined) {
      if (!isDigest(indexDigest)) throw new FetcherError('REQUEST_INVALID', `index digest ${indexDigest.slice(0, 100)}: none`);
      log.debug({ digest: indexDigest }, 'using provided soci index digest');
      return { digest: indexDigest, origin: 'label' };
    }
    log.debug('index digest not provided');
    if (!pullModes.sociV1 && !pullModes.sociV2) throw new FetcherError('NO_INDEX', 'soci v1 and soci v2 are disabled');
    if (pullModes.sociV2) {
      log.debug('checking for soci v2 index annotation');
      const digest = indexAnnotation(await manifest);
      if (digest !== undefined) {
        log.debug({ digest }, 'using soci v2 index annotation');
        return { digest, origin: 'annotation' };
      }
      log.debug('soci v2 index annotation not found');
    } else log.debug('soci v2 is disabled');
    if (!pullModes.sociV1) {
      log.debug('soci v1 is disabled');
      throw new FetcherError('NO_INDEX', 'the manifest names no soci v2 index, and soci v1 is disabled');
    }
    log.debug('checking for soci v1 index via referrers API');
    const [first] = await this.#registry.referrers(reference, manifestDigest, sociArtifactType('v1'), signal);
    if (first !== undefined) {
      log.debug({ digest: first.digest }, 'using soci v1 index via referrers API');
      return { digest: first.digest, origin: 'referrers' };
    }
    log.debug('soci v1 referrers not found');
    throw new FetcherError(
      'NO_INDEX',
      pullModes.sociV2
        ? 'the manifest names no soci v2 index, and no soci v1 index refers to it'
        : 'no soci v1 index refers to the manifest',
    );
  }

  async #manifest(reference: ImageReference, digest: string, signal: AbortSignal): Promise<Document> {
    if (!isDigest(digest)) throw new FetcherError('REQUEST_INVALID', `manifest digest ${digest.slice(0, 100)}: none`);
    const cached = await this.#cache?.read(digest, MAX_MANIFEST_BYTES, signal);
    if (cached !== undefined) return { descriptor: { mediaType: mediaTypeOf(cached, digest), digest, size: cached.length }, bytes: cached };
    return await this.#registry.fetchManifest(reference, digest, signal);
  }

  async #index(reference: ImageReference, digest: string, signal: AbortSignal): Promise<Document> {
    const cached = await this.#cache?.read(digest, MAX_MANIFEST_BYTES, signal);
    if (cached !== undefined) return { descriptor: { mediaType: MEDIA_TYPE.ociManifest, digest, size: cached.length }, bytes: cached };
    const index = await this.#registry.fetchManifest(reference, digest, signal);
    const { blobs } = parsed('INDEX_INVALID', index.descriptor, () => parseSociIndex(index.bytes));
    this.#cache?.keep({ ...index.descriptor, mediaType: MEDIA_TYPE.ociManifest }, [index.bytes], keepLabels(blobs, this.#now()));
    return index;
  }
}

/** Bytes that have a buffer of their own, which may be handed to another thread. */
function ownBuffer({ buffer, byteOffset, length }: Uint8Array): Uint8Array<ArrayBuffer> {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === length) return new Uint8Array(buffer);
  return new Uint8Array(new Uint8Array(buffer, byteOffset, length));
}

/** The digest in the manifest's v2 annotation. */
function indexAnnotation({ descriptor, bytes }: Document): string | undefined {
  const { annotations } = parsed('MANIFEST_INVALID', descriptor, () => parseManifest(bytes));
  const digest = annotation(annotations, ANNOTATION.indexDigest);
  if (digest === undefined || digest === '') return undefined;
  if (!isDigest(digest)) throw new FetcherError('INDEX_INVALID', `the manifest's soci v2 annotation ${digest.slice(0, 100)} is no digest`);
  return digest;
}

function mediaTypeOf(bytes: Uint8Array, digest: string): string {
  return parsed('MANIFEST_INVALID', { digest }, () => parseManifest(bytes)).mediaType ?? MEDIA_TYPE.ociManifest;
}

function toReference(text: string): ImageReference {
  try {
    return parseReference(text);
  } catch (cause) {
    if (cause instanceof ImageError) throw new FetcherError('REQUEST_INVALID', 'no image reference', { cause });
    throw cause;
  }
}
