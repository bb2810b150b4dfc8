import { fetch as api } from '@soci/proto';
import { implement, type ServiceImplementation } from '@soci/rpc';
import { changesOf } from './changes-of.ts';
import { FetcherError } from './errors.ts';
import type { ImageFetcher, ResolveImageRequest } from './image-fetcher.ts';
import { joinPieces } from './join-pieces.ts';
import type { ImageDocuments } from './resolved-image.ts';
import {
  fromWireDescriptor,
  fromWireImage,
  fromWirePriority,
  MAX_RELEASED,
  toFailure,
  toNumber,
  toWireDescriptor,
  toWireImage,
  toWireOrigin,
} from './wire.ts';

/** Bytes of one message at most. */
const MAX_PIECE_BYTES = 512 << 10;

/** A fetcher as it needs to be served: with the bytes of the documents, which the other side parses itself. */
export interface ServableFetcher extends ImageFetcher {
  /** As `resolveImage`. */
  resolveDocuments(request: ResolveImageRequest, signal: AbortSignal): Promise<ImageDocuments>;
}

/**
 * Serves a fetcher to a snapshotter in another process.
 * @param stopping aborted before the server is stopped: it waits for calls under way, and who listens to changes never hangs up by himself
 */
export function fetchService(fetcher: ServableFetcher, stopping?: AbortSignal): ServiceImplementation {
  return implement(api.FetchServiceService, {
    async resolveImage(request, { signal }) {
      try {
        const { manifest, index, indexOrigin, namespaces } = await fetcher.resolveDocuments(fromWireRequest(request), signal);
        return {
          image: {
            manifest: toWireDescriptor(manifest.descriptor),
            manifestBytes: Buffer.from(manifest.bytes),
            index: toWireDescriptor(index.descriptor),
            indexBytes: Buffer.from(index.bytes),
            indexOrigin: toWireOrigin(indexOrigin),
            namespaces: [...namespaces],
          },
        };
      } catch (error) {
        signal.throwIfAborted();
        return { failure: toFailure(error) };
      }
    },
    readArtifact: ({ image, descriptor }, { signal }) =>
      answers(async function* () {
        const bytes = await fetcher.readArtifact({ ...fromWireImage(image), descriptor: fromWireDescriptor(descriptor) }, signal);
        for (let at = 0; at < bytes.length; at += MAX_PIECE_BYTES) yield bytes.subarray(at, at + MAX_PIECE_BYTES);
      }, signal),
    readBlob: ({ image, digest, offset, length, priority }, { signal }) =>
      answers(() => {
        const range = { offsetBytes: toNumber(offset, 'offset'), lengthBytes: toNumber(length, 'length') };
        return joinPieces(
          fetcher.read({ ...fromWireImage(image), digest, ...range, priority: fromWirePriority(priority) }, signal),
          MAX_PIECE_BYTES,
        );
      }, signal),
    findNamespaces: async ({ references }, { signal }) => {
      const found = await fetcher.findNamespaces(references, signal);
      return { images: references.map((reference, i) => toWireImage({ reference, namespaces: found[i] ?? [] })) };
    },
    releaseArtifacts: async ({ digests }, { signal }) => {
      if (digests.length > MAX_RELEASED)
        throw new FetcherError('REQUEST_INVALID', `${digests.length} artifacts are too many for one message`);
      await fetcher.releaseArtifacts(digests, signal);
      return {};
    },
    async *watchChanges(_request, { signal }) {
      const until = stopping === undefined ? signal : AbortSignal.any([signal, stopping]);
      for await (const { hosts = [] } of changesOf(fetcher, until)) yield { hosts: [...hosts] };
    },
  });
}

/** Pieces as messages, and a failure as the last of them. */
async function* answers(
  pieces: () => AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<api.ReadBlobResponse & api.ReadArtifactResponse> {
  try {
    for await (const piece of pieces()) yield { piece: Buffer.from(piece.buffer, piece.byteOffset, piece.length) };
  } catch (error) {
    signal.throwIfAborted();
    yield { failure: toFailure(error) };
  }
}

function fromWireRequest({ image, manifestDigest, indexDigest, allowV1, allowV2 }: api.ResolveImageRequest): ResolveImageRequest {
  return {
    ...fromWireImage(image),
    manifestDigest,
    ...(indexDigest === '' ? {} : { indexDigest }),
    pullModes: { sociV1: allowV1, sociV2: allowV2 },
  };
}
