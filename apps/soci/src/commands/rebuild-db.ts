import type { BlobInfo, ContentStore } from '@soci/content';
import { hasCode } from '@soci/errors';
import { formatPlatform, MAX_MANIFEST_BYTES, MEDIA_TYPE, type Descriptor } from '@soci/image';
import { annotation, ANNOTATION, imagePlatforms, parseSociIndex, sociArtifactType, type ArtifactKind, type SociIndex } from '@soci/index';
import type { Session } from '../session.ts';

/** Nothing shorter is a manifest. */
const MIN_MANIFEST_BYTES = 10;
const KIND_OF: ReadonlyMap<string, ArtifactKind> = new Map([
  [MEDIA_TYPE.ztoc, 'ztoc'],
  [MEDIA_TYPE.sociPrefetch, 'prefetch'],
]);

/** `soci rebuild-db`: forgets artifacts that the store has no longer, and notes v1 indexes that it has. */
export async function rebuildDb(_: readonly string[], __: object, session: Session): Promise<void> {
  const artifacts = await session.artifacts();
  const blobs = await session.blobs();
  for (const { digest } of artifacts.list()) {
    if ((await blobs.stat(digest, session.signal)) === undefined) artifacts.delete(digest);
  }
  for await (const blob of blobs.list(session.signal)) {
    const index = await readV1Index(blob, blobs, session);
    if (index?.subject !== undefined && artifacts.get(blob.digest) === undefined) await note(blob, index, index.subject, session);
  }
}

async function readV1Index({ digest, sizeBytes }: BlobInfo, blobs: ContentStore, session: Session): Promise<SociIndex | undefined> {
  if (sizeBytes < MIN_MANIFEST_BYTES || sizeBytes > MAX_MANIFEST_BYTES) return undefined;
  try {
    const index = parseSociIndex(await blobs.read(digest, MAX_MANIFEST_BYTES, session.signal));
    return index.version === 'v1' ? index : undefined;
  } catch (error) {
    if (hasCode(error, 'INDEX_INVALID', 'NOT_FOUND')) return undefined; // any other blob; or gone since it was listed
    throw error;
  }
}

async function note({ digest, sizeBytes }: BlobInfo, index: SociIndex, subject: Descriptor, session: Session): Promise<void> {
  const artifacts = await session.artifacts();
  const createdAt = new Date(session.host.now());
  const unnamed = { imageDigest: '', platform: '', artifactType: '', createdAt };
  artifacts.put({
    ...unnamed,
    digest,
    kind: 'index',
    sizeBytes,
    originalDigest: subject.digest,
    imageDigest: subject.digest,
    platform: await platformOf(subject, session),
    location: subject.digest,
    mediaType: MEDIA_TYPE.ociManifest,
    artifactType: sociArtifactType('v1'),
    spanSizeBytes: 0n,
  });
  for (const blob of index.blobs) {
    const kind = KIND_OF.get(blob.mediaType);
    const layerDigest = annotation(blob.annotations, ANNOTATION.layerDigest);
    if (kind === undefined || layerDigest === undefined) continue;
    const spanSize = annotation(blob.annotations, ANNOTATION.spanSize) ?? '0';
    artifacts.put({
      ...unnamed,
      digest: blob.digest,
      kind,
      sizeBytes: blob.size,
      originalDigest: layerDigest,
      location: kind === 'ztoc' ? layerDigest : '',
      mediaType: blob.mediaType,
      spanSizeBytes: /^\d{1,18}$/.test(spanSize) ? BigInt(spanSize) : 0n,
    });
  }
}

/** Empty when the image is not in containerd any more: its index is noted all the same. */
async function platformOf(subject: Descriptor, session: Session): Promise<string> {
  const { content } = await session.containerd();
  try {
    const [platform] = await imagePlatforms(content, subject, session.signal);
    return platform === undefined ? '' : formatPlatform(platform);
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND')) throw error;
    session.warn(`image ${subject.digest} of an index is not in containerd: its platform stays empty`);
    return '';
  }
}
