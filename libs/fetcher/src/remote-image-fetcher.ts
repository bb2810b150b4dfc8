import { hasCode } from '@soci/errors';
import type { BlobRequest, BlobSourceChange } from '@soci/layer';
import type { fetch as api, ServiceClient } from '@soci/proto';
import { checkedArtifact } from './checked-artifact.ts';
import { FetcherError } from './errors.ts';
import type { ArtifactRequest, ImageFetcher, ResolvedImage, ResolveImageRequest } from './image-fetcher.ts';
import { toResolvedImage } from './resolved-image.ts';
import { RemoteChanges } from './remote-changes.ts';
import { fromFailure, fromWireDescriptor, fromWireOrigin, MAX_RELEASED, toWireDescriptor, toWireImage, toWirePriority } from './wire.ts';

/** A zTOC of hundreds of megabytes over a slow line takes its time; whoever asks has a deadline of his own. */
const NO_DEADLINE = { deadlineMs: Infinity } as const;

/** The fetcher in another process. */
export class RemoteImageFetcher implements ImageFetcher {
  readonly #client: ServiceClient<api.FetchServiceService>;
  readonly #changes: RemoteChanges;

  /** @param client made from a channel: `channel.client(fetch.FetchServiceService)` */
  constructor(client: ServiceClient<api.FetchServiceService>) {
    this.#client = client;
    this.#changes = new RemoteChanges((request, options) => client.watchChanges(request, options));
  }

  async resolveImage(request: ResolveImageRequest, signal: AbortSignal): Promise<ResolvedImage> {
    const { image, failure } = await reached(signal, () =>
      this.#client.resolveImage(
        {
          image: toWireImage(request),
          manifestDigest: request.manifestDigest,
          indexDigest: request.indexDigest ?? '',
          allowV1: request.pullModes.sociV1,
          allowV2: request.pullModes.sociV2,
        },
        { signal },
      ),
    );
    if (failure !== undefined) throw fromFailure(failure);
    if (image === undefined) throw new FetcherError('PROTOCOL', 'registry fetcher: answer without a result');
    return toResolvedImage({
      manifest: { descriptor: fromWireDescriptor(image.manifest), bytes: image.manifestBytes },
      index: { descriptor: fromWireDescriptor(image.index), bytes: image.indexBytes },
      indexOrigin: fromWireOrigin(image.indexOrigin),
      namespaces: image.namespaces,
    });
  }

  async readArtifact(request: ArtifactRequest, signal: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const { digest, size } = checkedArtifact(request.descriptor);
    const bytes = new Uint8Array(size);
    let filled = 0;
    const descriptor = toWireDescriptor(request.descriptor);
    for await (const piece of pieces(signal, () =>
      this.#client.readArtifact({ image: toWireImage(request), descriptor }, { signal, ...NO_DEADLINE }),
    )) {
      if (filled + piece.length > size) throw new FetcherError('SIZE_MISMATCH', `artifact ${digest}: more than ${size} bytes`);
      bytes.set(piece, filled);
      filled += piece.length;
    }
    if (filled !== size) throw new FetcherError('SIZE_MISMATCH', `artifact ${digest}: ${filled} of ${size} bytes`);
    return bytes;
  }

  read(request: BlobRequest, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const { digest, offsetBytes, lengthBytes } = request;
    const message: api.ReadBlobRequest = {
      image: toWireImage(request),
      digest,
      offset: BigInt(offsetBytes),
      length: BigInt(lengthBytes),
      priority: toWirePriority(request.priority),
    };
    return pieces(signal, () => this.#client.readBlob(message, { signal, ...NO_DEADLINE }));
  }

  async findNamespaces(references: readonly string[], signal: AbortSignal): Promise<readonly (readonly string[])[]> {
    const { images } = await reached(signal, () => this.#client.findNamespaces({ references: [...references] }, { signal }));
    if (images.length !== references.length) throw new FetcherError('PROTOCOL', 'registry fetcher: answer about other images');
    return images.map(({ namespaces }) => namespaces);
  }

  async releaseArtifacts(digests: readonly string[], signal: AbortSignal): Promise<void> {
    for (let at = 0; at < digests.length; at += MAX_RELEASED) {
      const some = digests.slice(at, at + MAX_RELEASED);
      await reached(signal, () => this.#client.releaseArtifacts({ digests: some }, { signal }));
    }
  }

  onChange(listener: (change: BlobSourceChange) => void): Disposable {
    return this.#changes.add(listener);
  }
}

async function* pieces(signal: AbortSignal, call: () => AsyncIterable<api.ReadBlobResponse>): AsyncGenerator<Uint8Array> {
  try {
    for await (const { piece, failure } of call()) {
      if (failure !== undefined) throw fromFailure(failure);
      if (piece !== undefined) yield piece;
    }
  } catch (error) {
    throw unreached(error, signal);
  }
}

async function reached<T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw unreached(error, signal);
  }
}

/** What a call that ended without an answer says of the fetcher. */
function unreached(cause: unknown, signal: AbortSignal): unknown {
  if (signal.aborted || cause instanceof FetcherError) return cause;
  return new FetcherError(hasCode(cause, 'DEADLINE_EXCEEDED') ? 'TIMEOUT' : 'UNREACHABLE', 'registry fetcher cannot be reached', { cause });
}
