import { hasCode } from '@soci/errors';
import type { Descriptor, ImageReference } from '@soci/image';
import { hasBlob } from './blobs.ts';
import { RegistryError } from './errors.ts';
import type { HttpOptions } from './http-options.ts';
import { failureOf } from './manifests.ts';
import { counted, pieces, SourceFailure } from './push-source.ts';
import type { RegistryHost } from './registry-host.ts';
import type { RegistryCall, RegistryRequests } from './requests.ts';
import type { RetryingSender } from './retry.ts';
import { repositoryScope } from './scopes.ts';
import type { HttpResponse } from './transport.ts';

/** The bytes of a blob; a function is called again when the upload has to begin anew. */
export type BlobSource = Uint8Array | (() => AsyncIterable<Uint8Array>);

export interface PushBlobRequest {
  readonly reference: ImageReference;
  readonly descriptor: Pick<Descriptor, 'digest' | 'size'>;
  readonly source: BlobSource;
  /** Told how many bytes have been sent of this blob; the number goes back when the upload begins anew. */
  readonly onProgress?: (sentBytes: number) => void;
}

interface Pushing {
  readonly requests: RegistryRequests;
  readonly sender: RetryingSender;
  readonly http: HttpOptions;
}

/** Storage behind a registry may have to put a large blob together before it answers. */
const COMMIT_TIMEOUT_MS = 120_000;
const FALLBACK_CHUNK_BYTES = 8 * 1024 * 1024;
/** Pieces are held in memory; a registry that wants larger ones gets the blob in one request. */
const MAX_CHUNK_BYTES = 64 * 1024 * 1024;
const PAYLOAD_TOO_LARGE = 413;

/**
 * Pushes a blob unless it is there: in one request, or in pieces where the options or the registry ask for it, or where it refuses one request of that size.
 *
 * @throws {RegistryError} `SIZE_MISMATCH` when the source has not as many bytes as the descriptor says; the error of a source that failed; what requests throw
 * @see https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs
 */
export async function pushBlob(pushing: Pushing, request: PushBlobRequest, signal: AbortSignal): Promise<'present' | 'pushed'> {
  const { reference, descriptor, onProgress } = request;
  if (await hasBlob(pushing.requests, reference, descriptor.digest, signal, { needs: ['push'], scopes: pushScopes(reference) })) {
    onProgress?.(descriptor.size);
    return 'present';
  }
  let chunkBytes = pushing.http.pushChunkBytes;
  for (let attempt = 0; ; attempt++) {
    try {
      await upload(pushing.requests, request, chunkBytes, signal);
      return 'pushed';
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof SourceFailure) throw error.cause;
      if (!(error instanceof RegistryError)) throw error;
      if (error.status === PAYLOAD_TOO_LARGE && chunkBytes === 0) chunkBytes = FALLBACK_CHUNK_BYTES;
      else if (!hasCode(error, 'UNREACHABLE', 'TIMEOUT', 'UNAVAILABLE') || attempt >= pushing.sender.maxRetries) throw error;
      else await pushing.sender.pause(attempt, { host: reference.host, digest: descriptor.digest, error }, signal);
    }
  }
}

/**
 * Asks the registry to take a blob over from another of its repositories.
 *
 * @returns false when it wants it uploaded
 */
export async function mountBlob(
  requests: RegistryRequests,
  reference: ImageReference,
  digest: string,
  fromRepository: string,
  signal: AbortSignal,
): Promise<boolean> {
  const call: RegistryCall = {
    ...beginCall(reference, digest),
    query: { mount: digest, from: fromRepository },
    scopes: [...pushScopes(reference), repositoryScope(fromRepository, ['pull'])],
    expect: [201, 202],
  };
  const { response } = await requests.perform(call, signal);
  response.body.discard();
  return response.status === 201;
}

export function pushScopes(reference: ImageReference): readonly string[] {
  return [repositoryScope(reference.repository, ['pull', 'push'])];
}

async function upload(requests: RegistryRequests, request: PushBlobRequest, chunkBytes: number, signal: AbortSignal): Promise<void> {
  const { reference, descriptor } = request;
  const begin = beginCall(reference, descriptor.digest);
  const { response, url, via } = await requests.perform(begin, signal);
  response.body.discard();
  const location = locationOf(begin, response, url);
  const minimum = Number(response.header('oci-chunk-min-length') ?? 0);
  if (chunkBytes > 0 && minimum <= MAX_CHUNK_BYTES) {
    await uploadInPieces(requests, request, { location, via, chunkBytes: Math.max(chunkBytes, minimum) }, signal);
    return;
  }
  const call: RegistryCall = {
    ...begin,
    method: 'PUT',
    via,
    url: location,
    query: { digest: descriptor.digest },
    headers: { 'content-type': 'application/octet-stream', 'content-length': String(descriptor.size) },
    body: () => counted(request),
    expect: [201, 204],
    ...UPLOAD,
  };
  await finish(requests, call, signal);
}

async function uploadInPieces(
  requests: RegistryRequests,
  request: PushBlobRequest,
  { location, via, chunkBytes }: { readonly location: URL; readonly via: RegistryHost; readonly chunkBytes: number },
  signal: AbortSignal,
): Promise<void> {
  const begin = beginCall(request.reference, request.descriptor.digest);
  let url = location;
  let offset = 0;
  for await (const piece of pieces(counted(request), chunkBytes)) {
    const call: RegistryCall = {
      ...begin,
      method: 'PATCH',
      via,
      url,
      headers: {
        'content-type': 'application/octet-stream',
        'content-length': String(piece.length),
        'content-range': `${offset}-${offset + piece.length - 1}`,
      },
      body: () => piece,
      expect: [202, 204],
      ...UPLOAD,
    };
    const reply = await requests.perform(call, signal);
    reply.response.body.discard();
    url = locationOf(call, reply.response, reply.url);
    offset += piece.length;
  }
  const call: RegistryCall = {
    ...begin,
    method: 'PUT',
    via,
    url,
    query: { digest: request.descriptor.digest },
    headers: { 'content-length': '0' },
    expect: [201, 204],
    ...UPLOAD,
  };
  await finish(requests, call, signal);
}

/** What a failed attempt left of an upload is not known, so that none of its requests is sent twice: the upload begins anew. */
const UPLOAD = { once: true, unlimited: true, responseHeaderTimeoutMs: COMMIT_TIMEOUT_MS } as const;

async function finish(requests: RegistryRequests, call: RegistryCall, signal: AbortSignal): Promise<void> {
  const { response } = await requests.perform(call, signal);
  response.body.discard();
}

function beginCall(reference: ImageReference, digest: string): RegistryCall {
  return {
    method: 'POST',
    reference,
    needs: ['push'],
    path: `${reference.repository}/blobs/uploads/`,
    scopes: pushScopes(reference),
    subject: `blob ${reference.repository}@${digest}`,
    expect: [202],
    headers: { 'content-length': '0' },
  };
}

/** Where the upload goes on. It may be another host: that gets no credential of this one, and no clear text after https. */
function locationOf(call: RegistryCall, response: HttpResponse, from: URL): URL {
  const location = response.header('location');
  const url = location === undefined ? null : URL.parse(location, from.href);
  if (url === null) throw failureOf(call)('PROTOCOL', 'the registry gave no location for the upload');
  if (from.protocol === 'https:' && url.protocol !== 'https:')
    throw failureOf(call)('REDIRECT_REFUSED', `upload to ${url.host} refused: from https to http`);
  return url;
}
