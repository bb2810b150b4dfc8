import {
  encodeIndex,
  isIndexType,
  isManifestType,
  MEDIA_TYPE,
  parseIndex,
  parseManifest,
  sha256Digest,
  type Descriptor,
  type ImageReference,
} from '@soci/image';
import { failureOf } from './manifests.ts';
import { pushScopes } from './push-blob.ts';
import { fromTag, referrersTag } from './referrers.ts';
import type { RegistryCall, RegistryRequests, Reply } from './requests.ts';

export interface PushManifestRequest {
  readonly reference: ImageReference;
  readonly bytes: Uint8Array;
  readonly mediaType: string;
  /** Without one it is stored under its digest alone. */
  readonly tag: string | undefined;
}

/**
 * Pushes a manifest. One with a subject is also entered in the tag that stands in for the referrers API, unless the registry says that it took note of the subject.
 * Registries have no way to change that tag under a lock: two who enter different manifests for one subject at the same time may lose one of them.
 *
 * @throws {RegistryError} `DIGEST_MISMATCH` when the registry stored something else, and what requests throw
 * @see https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests-with-subject
 */
export async function pushManifest(requests: RegistryRequests, request: PushManifestRequest, signal: AbortSignal): Promise<Descriptor> {
  const digest = sha256Digest(request.bytes);
  const { response } = await put(requests, request, digest, signal);
  const subject = subjectOf(request, digest);
  if (subject !== undefined && response.header('oci-subject') === undefined)
    await enterReferrer(requests, request.reference, subject, signal);
  return { mediaType: request.mediaType, digest, size: request.bytes.length };
}

async function put(
  requests: RegistryRequests,
  { reference, bytes, mediaType, tag }: PushManifestRequest,
  digest: string,
  signal: AbortSignal,
): Promise<Reply> {
  const call: RegistryCall = {
    method: 'PUT',
    reference,
    needs: ['push'],
    path: `${reference.repository}/manifests/${tag ?? digest}`,
    scopes: pushScopes(reference),
    subject: `manifest ${reference.repository}${tag === undefined ? `@${digest}` : `:${tag}`}`,
    expect: [201],
    headers: { 'content-type': mediaType },
    body: () => bytes,
    unlimited: true,
  };
  const reply = await requests.perform(call, signal);
  reply.response.body.discard();
  const stored = reply.response.header('docker-content-digest');
  if (stored?.startsWith('sha256:') === true && stored !== digest)
    throw failureOf(call, reply)('DIGEST_MISMATCH', `the registry stored ${stored} for ${digest}`);
  return reply;
}

interface Referrer {
  readonly subject: string;
  readonly descriptor: Descriptor;
}

function subjectOf({ bytes, mediaType }: PushManifestRequest, digest: string): Referrer | undefined {
  if (!isIndexType(mediaType) && !isManifestType(mediaType)) return undefined;
  const document = isIndexType(mediaType) ? parseIndex(bytes) : parseManifest(bytes);
  if (document.subject === undefined) return undefined;
  const artifactType = document.artifactType ?? ('config' in document ? document.config.mediaType : undefined);
  return {
    subject: document.subject.digest,
    descriptor: {
      mediaType,
      digest,
      size: bytes.length,
      ...(document.annotations === undefined ? {} : { annotations: document.annotations }),
      ...(artifactType === undefined ? {} : { artifactType }),
    },
  };
}

async function enterReferrer(
  requests: RegistryRequests,
  reference: ImageReference,
  { subject, descriptor }: Referrer,
  signal: AbortSignal,
): Promise<void> {
  const listed = await fromTag(requests, reference, subject, signal, ['push']);
  if (listed.some(({ digest }) => digest === descriptor.digest)) return;
  const bytes = encodeIndex({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: [...listed, descriptor] });
  await put(requests, { reference, bytes, mediaType: MEDIA_TYPE.ociIndex, tag: referrersTag(subject) }, sha256Digest(bytes), signal);
}
