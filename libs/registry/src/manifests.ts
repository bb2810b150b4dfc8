import { createHash } from 'node:crypto';
import { IMAGE_MEDIA_TYPES, isDigest, MAX_MANIFEST_BYTES, parseDigest, type Descriptor, type ImageReference } from '@soci/image';
import { RegistryError } from './errors.ts';
import type { RegistryCall, RegistryRequests, Reply } from './requests.ts';
import { repositoryScope } from './scopes.ts';
import { readBody } from './transport.ts';

const ACCEPT = [...IMAGE_MEDIA_TYPES, '*/*'].join(', ');
/** How often a body that breaks off is asked for: it is short, and is read from its beginning. */
const MAX_BODIES = 3;
/** How registries say that HEAD is not for everybody, or not at all. */
const NO_HEAD_CODES = ['DENIED', 'PROTOCOL'];

export interface FetchedManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

/**
 * Fetches a manifest or index and checks it against its digest, or, by tag, against the one the registry names.
 *
 * @param needs what a host must be allowed to do, in place of what the reading of a manifest needs
 * @throws {RegistryError} `NOT_FOUND`, `DIGEST_MISMATCH`, `TOO_LARGE` above 4 MiB, and what requests throw
 */
export async function fetchManifest(
  requests: RegistryRequests,
  reference: ImageReference,
  tagOrDigest: string,
  signal: AbortSignal,
  needs?: RegistryCall['needs'],
): Promise<FetchedManifest> {
  const plain = manifestCall('GET', reference, tagOrDigest);
  const call = needs === undefined ? plain : { ...plain, needs };
  const { reply, bytes } = await readReply(requests, call, signal);
  const { response } = reply;
  const failure = failureOf(call, reply);
  if (bytes === undefined) throw failure('TOO_LARGE', `more than ${MAX_MANIFEST_BYTES} bytes`);
  const wanted = isDigest(tagOrDigest) ? tagOrDigest : (response.header('docker-content-digest') ?? '');
  const digest = isDigest(wanted) ? wanted : `sha256:${'0'.repeat(64)}`;
  const { algorithm } = parseDigest(digest);
  const actual = `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
  if (isDigest(wanted) && actual !== wanted) throw failure('DIGEST_MISMATCH', `the registry sent ${actual} for ${wanted}`);
  return { descriptor: { mediaType: mediaTypeOf(response.header('content-type'), bytes), digest: actual, size: bytes.length }, bytes };
}

/** @returns without bytes when they are too many */
async function readReply(
  requests: RegistryRequests,
  call: RegistryCall,
  signal: AbortSignal,
): Promise<{ readonly reply: Reply; readonly bytes: Buffer | undefined }> {
  for (let attempt = 1; ; attempt++) {
    const reply = await requests.perform(call, signal);
    try {
      return { reply, bytes: await readBody(reply.response.body, MAX_MANIFEST_BYTES) };
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof RegistryError)) throw error;
      requests.brokeOff(reply, call, error);
      if (attempt >= MAX_BODIES) throw failureOf(call, reply)(error.code, error.message, error);
    }
  }
}

/** Asks what a reference's tag or digest points at, by HEAD; a registry that does not answer that fully is asked for the manifest itself. */
export async function resolveManifest(requests: RegistryRequests, reference: ImageReference, signal: AbortSignal): Promise<Descriptor> {
  const tagOrDigest = reference.digest ?? reference.tag ?? 'latest';
  let reply: Reply;
  try {
    reply = await requests.perform(manifestCall('HEAD', reference, tagOrDigest), signal);
  } catch (error) {
    if (!(error instanceof RegistryError) || !NO_HEAD_CODES.includes(error.code)) throw error;
    return (await fetchManifest(requests, reference, tagOrDigest, signal)).descriptor;
  }
  const { response } = reply;
  response.body.discard();
  const named = response.header('docker-content-digest') ?? reference.digest ?? '';
  const size = Number(response.header('content-length') ?? NaN);
  const mediaType = contentType(response.header('content-type'));
  if (!isDigest(named) || !Number.isSafeInteger(size) || size <= 0 || mediaType === '') {
    return (await fetchManifest(requests, reference, tagOrDigest, signal)).descriptor;
  }
  if (reference.digest !== undefined && named !== reference.digest) {
    throw failureOf(manifestCall('HEAD', reference, tagOrDigest), reply)(
      'DIGEST_MISMATCH',
      `the registry named ${named} for ${reference.digest}`,
    );
  }
  return { mediaType, digest: named, size };
}

/** Whether a manifest is there. */
export async function hasManifest(
  requests: RegistryRequests,
  reference: ImageReference,
  tagOrDigest: string,
  signal: AbortSignal,
): Promise<boolean> {
  const { response } = await requests.perform({ ...manifestCall('HEAD', reference, tagOrDigest), expect: [200, 404] }, signal);
  response.body.discard();
  return response.status === 200;
}

function manifestCall(method: 'GET' | 'HEAD', reference: ImageReference, tagOrDigest: string): RegistryCall {
  return {
    method,
    reference,
    needs: isDigest(tagOrDigest) ? ['pull'] : ['pull', 'resolve'],
    path: `${reference.repository}/manifests/${tagOrDigest}`,
    scopes: [repositoryScope(reference.repository, ['pull'])],
    subject: `manifest ${reference.repository}${isDigest(tagOrDigest) ? '@' : ':'}${tagOrDigest}`,
    expect: [200],
    headers: { accept: ACCEPT },
  };
}

/** Makes errors of an answer that had the right status. */
export function failureOf(
  call: RegistryCall,
  reply?: Pick<Reply, 'via'>,
): (code: RegistryError['code'], why: string, cause?: RegistryError) => RegistryError {
  return (code, why, cause) =>
    new RegistryError(
      code,
      `${call.method} ${call.subject} at ${reply?.via.name ?? call.reference.host}: ${why}`,
      cause === undefined ? {} : { cause: cause.cause },
    );
}

/** The header's word, or where it says nothing of use the document's own. */
function mediaTypeOf(header: string | undefined, bytes: Uint8Array): string {
  const fromHeader = contentType(header);
  if (fromHeader !== '' && fromHeader !== 'application/octet-stream' && fromHeader !== 'application/json') return fromHeader;
  try {
    const document: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    if (typeof document === 'object' && document !== null && 'mediaType' in document && typeof document.mediaType === 'string')
      return document.mediaType;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error; // whoever parses the manifest will say so
  }
  return fromHeader;
}

export function contentType(header: string | undefined): string {
  return header?.split(';', 1)[0]?.trim() ?? '';
}
