import type { CachingStore } from '@soci/content';
import { describeError } from '@soci/errors';
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
import type { CredentialSource } from '@soci/keychain';
import type { BlobRequest, BlobSourceChange } from '@soci/layer';
import type { Logger } from '@soci/log';
import { Turnstile } from '@soci/process';
import type { RegistryReader } from '@soci/registry';
import { ArtifactCache } from './artifact-cache.ts';
import { checkedArtifact } from './checked-artifact.ts';
import { type ImageHostsOf, toBlobSourceChange } from './credential-change.ts';
import { FetcherError } from './errors.ts';
import type { ServableFetcher } from './fetch-service.ts';
import type { ArtifactRequest, IndexOrigin, PulledImage, ResolvedImage, ResolveImageRequest } from './image-fetcher.ts';
import { type ImageDocuments, parsed, toResolvedImage } from './resolved-image.ts';

/** Which pulls of an image count: for one that is being prepared those that run, too; for one that is here those that proved their right to it. */
export type CountedPulls = 'running-or-succeeded' | 'succeeded';

export interface RegistryImageFetcherOptions {
  readonly registry: { forNamespaces(namespaces: readonly string[]): RegistryReader };
  readonly log: Logger;
  /** Whose changes are passed on: the sources that the registry client asks. */
  readonly credentials?: Pick<CredentialSource, 'onChange'>;
  /** Kubernetes namespaces that pulled a reference, where pulls are seen. */
  readonly namespacesOf?: (reference: ImageReference, pulls: CountedPulls) => readonly string[];
  /** Brings what `namespacesOf` says of these up to date, where another process sees the pulls. */
  readonly learnNamespaces?: (references: readonly ImageReference[], signal: AbortSignal) => Promise<void>;
  /** Where registries have mirrors; by default none has. */
  readonly imageHostsOf?: ImageHostsOf;
  /** Where artifacts are looked for first, and kept for as long as they are used. */
  readonly store?: CachingStore;
}

/** zTOCs and other artifacts fetched at the same time. */
const MAX_PARALLEL_ARTIFACTS = 8;

/** An image, and the registries as its namespaces see them. */
interface Target {
  readonly reference: ImageReference;
  readonly namespaces: readonly string[];
  readonly registry: RegistryReader;
}

interface Document {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

/** The fetcher that speaks to registries itself. */
export class RegistryImageFetcher implements ServableFetcher, AsyncDisposable {
  readonly #options: RegistryImageFetcherOptions;
  readonly #log: Logger;
  readonly #cache: ArtifactCache | undefined;
  readonly #artifacts = new Turnstile(MAX_PARALLEL_ARTIFACTS);

  constructor(options: RegistryImageFetcherOptions) {
    const { log, store } = options;
    this.#options = options;
    this.#log = log;
    this.#cache = store === undefined ? undefined : new ArtifactCache(store, log);
  }

  async resolveImage(request: ResolveImageRequest, signal: AbortSignal): Promise<ResolvedImage> {
    return toResolvedImage(await this.resolveDocuments(request, signal));
  }

  async resolveDocuments(request: ResolveImageRequest, signal: AbortSignal): Promise<ImageDocuments> {
    await this.#learn([toReference(request.reference)], signal);
    const target = this.#targetOf(request, 'running-or-succeeded');
    const manifest = this.#manifest(target, request.manifestDigest, signal);
    manifest.catch(() => undefined); // awaited below; finding the index may fail first
    const found = await this.#findIndex(request, target, manifest, signal);
    const [image, index] = await Promise.all([manifest, this.#index(target, found.digest, signal)]);
    this.#log.info({ digest: index.descriptor.digest, ref: request.reference }, 'fetching SOCI artifacts using index descriptor');
    // Asked again, since some may have begun to pull it meanwhile.
    return { manifest: image, index, indexOrigin: found.origin, namespaces: this.#targetOf(request, 'running-or-succeeded').namespaces };
  }

  async readArtifact(request: ArtifactRequest, signal: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const { descriptor } = request;
    const { digest, size } = checkedArtifact(descriptor);
    const { registry, reference } = this.#targetOf(request);
    using turn = new DisposableStack();
    turn.use(await this.#artifacts.enter(signal));
    const cached = await this.#cache?.read(digest, size, signal);
    if (cached?.length === size) return ownBuffer(cached);
    const bytes = new Uint8Array(size);
    const pieces: Uint8Array[] = [];
    let filled = 0;
    for await (const piece of registry.fetchBlob(reference, descriptor, signal)) {
      bytes.set(piece, filled); // the client sends no more than `size`
      filled += piece.length;
      pieces.push(piece);
    }
    this.#cache?.keep({ mediaType: MEDIA_TYPE.ztoc, digest, size }, pieces);
    return bytes;
  }

  async *read(request: BlobRequest, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const { digest, offsetBytes, lengthBytes } = request;
    if (!isDigest(digest)) throw new FetcherError('REQUEST_INVALID', `blob ${digest.slice(0, 100)}: no such digest`);
    const { registry, reference } = this.#targetOf(request);
    yield* registry.readBlobRange(reference, digest, { offsetBytes, lengthBytes }, signal);
  }

  async findNamespaces(references: readonly string[], signal: AbortSignal): Promise<readonly (readonly string[])[]> {
    const parsed = references.map(toReference);
    await this.#learn(parsed, signal);
    return parsed.map((reference) => this.#options.namespacesOf?.(reference, 'succeeded') ?? []);
  }

  async releaseArtifacts(digests: readonly string[], signal: AbortSignal): Promise<void> {
    const wrong = digests.find((digest) => !isDigest(digest));
    if (wrong !== undefined) throw new FetcherError('REQUEST_INVALID', `artifact ${wrong.slice(0, 100)}: no such digest`);
    await this.#cache?.release(digests, signal);
  }

  onChange(listener: (change: BlobSourceChange) => void): Disposable {
    const { credentials, imageHostsOf = () => [] } = this.#options;
    return credentials?.onChange?.((change) => listener(toBlobSourceChange(change, imageHostsOf))) ?? new DisposableStack();
  }

  /** Settles when all that was fetched is in the content store. */
  async settled(): Promise<void> {
    await this.#cache?.settled();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cache?.[Symbol.asyncDispose]();
  }

  /** None known and not known are not the same: the one lets an image have every secret of the node. */
  async #learn(references: readonly ImageReference[], signal: AbortSignal): Promise<void> {
    try {
      await this.#options.learnNamespaces?.(references, signal);
    } catch (cause) {
      signal.throwIfAborted();
      throw new FetcherError(
        'CREDENTIALS_NOT_READY',
        `namespaces that pulled ${references.join(', ')} are not known: ${describeError(cause)}`,
        { cause },
      );
    }
  }

  /** Whoever has pulled the image since it was noted with its layers counts at once. */
  #targetOf(
    { reference: text, namespaces: noted = [] }: Partial<PulledImage> & Pick<PulledImage, 'reference'>,
    pulls: CountedPulls = 'succeeded',
  ): Target {
    const { registry, namespacesOf } = this.#options;
    const reference = toReference(text);
    const namespaces = namespacesOf === undefined ? noted : [...new Set([...namespacesOf(reference, pulls), ...noted])];
    return { reference, namespaces, registry: registry.forNamespaces(namespaces) };
  }

  async #findIndex(
    { reference: ref, manifestDigest, indexDigest, pullModes }: ResolveImageRequest,
    { reference, registry }: Target,
    manifest: Promise<Document>,
    signal: AbortSignal,
  ): Promise<{ readonly digest: string; readonly origin: IndexOrigin }> {
    const log = this.#log.child({ ref });
    if (indexDigest !== undefined) {
      if (!isDigest(indexDigest)) throw new FetcherError('REQUEST_INVALID', `index digest ${indexDigest.slice(0, 100)}: none`);
      log.debug({ digest: indexDigest }, 'using provided soci index digest');
      return { digest: indexDigest, origin: 'label' };
    }
    if (!pullModes.sociV1 && !pullModes.sociV2) throw new FetcherError('NO_INDEX', 'soci v1 and soci v2 are disabled');
    // Told once there is a manifest: an image whose credentials are waited for is asked for again and again.
    const document = pullModes.sociV2 ? await manifest : undefined;
    log.debug('index digest not provided');
    if (document !== undefined) {
      log.debug('checking for soci v2 index annotation');
      const digest = indexAnnotation(document);
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
    const [first] = await registry.referrers(reference, manifestDigest, sociArtifactType('v1'), signal);
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

  async #manifest({ reference, registry }: Target, digest: string, signal: AbortSignal): Promise<Document> {
    if (!isDigest(digest)) throw new FetcherError('REQUEST_INVALID', `manifest digest ${digest.slice(0, 100)}: none`);
    const cached = await this.#cache?.read(digest, MAX_MANIFEST_BYTES, signal);
    if (cached !== undefined) return { descriptor: { mediaType: mediaTypeOf(cached, digest), digest, size: cached.length }, bytes: cached };
    return await registry.fetchManifest(reference, digest, signal);
  }

  async #index({ reference, registry }: Target, digest: string, signal: AbortSignal): Promise<Document> {
    const cached = await this.#cache?.read(digest, MAX_MANIFEST_BYTES, signal);
    if (cached !== undefined) return { descriptor: { mediaType: MEDIA_TYPE.ociManifest, digest, size: cached.length }, bytes: cached };
    const index = await registry.fetchManifest(reference, digest, signal);
    parsed('INDEX_INVALID', index.descriptor, () => parseSociIndex(index.bytes));
    this.#cache?.keep({ ...index.descriptor, mediaType: MEDIA_TYPE.ociManifest }, [index.bytes]);
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
