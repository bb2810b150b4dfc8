import {
  type Descriptor,
  encodeIndex,
  encodeManifest,
  hostPlatform,
  type Index,
  isIndexType,
  isManifestType,
  type Manifest,
  matchesPlatform,
  MEDIA_TYPE,
  sha256Digest,
} from '@soci/image';
import { annotation, ANNOTATION, ATTESTATION_REFERENCE, GC_REFERENCE_PREFIX } from './annotations.ts';
import type { ArtifactsDb } from './artifacts-db.ts';
import { type BuildSettings, type BuildStores, type BuildTools, completeSettings } from './build-options.ts';
import { buildIndexes, type BuiltIndex } from './build-indexes.ts';
import { choosePlatforms, type PlatformChoice } from './create.ts';
import { IndexError } from './errors.ts';
import { imagePlatforms, isImageEntry, isMissing, readIndex, readManifest } from './image-reader.ts';
import { sociIndexVersion } from './soci-index.ts';

export interface ConvertImageOptions extends BuildStores, BuildTools, BuildSettings {
  /** The image: an index or a manifest. */
  readonly target: Descriptor;
  readonly platforms?: PlatformChoice;
}

export interface ConvertedImage {
  /** The new image index: media type, digest and size. */
  readonly target: Descriptor;
  readonly indexes: readonly BuiltIndex[];
}

/**
 * `soci convert`: makes an image with v2 indexes out of an image. Layers are shared; manifests are written again, as OCI ones, with the digest of
 * their index; the indexes become entries of the new image index. Doing it again with the same options gives the same digests.
 *
 * What is about an image stays as it is, unlike with the Go tool: SOCI indexes of other platforms, and attestations with their annotations
 * (whose reference follows a manifest that got a new digest).
 *
 * Nothing that is written is a root for containerd's garbage collector: the caller runs this inside a lease and then points an image record at the result.
 *
 * @throws {IndexError} `EMPTY_INDEX` when no platform has a layer to index; otherwise as `createIndexes`
 */
export async function convertImage(options: ConvertImageOptions, signal: AbortSignal): Promise<ConvertedImage> {
  const { content } = options;
  const target = await withPlatform(options, signal);
  const settings = completeSettings(options);
  const byDefault = isManifestType(target.mediaType) && target.platform !== undefined ? target.platform : hostPlatform();
  const platforms = await choosePlatforms(options.platforms ?? 'default', { content, target }, byDefault, signal);
  const original = isIndexType(target.mediaType) ? await readIndex(content, target, signal) : wrap(target);
  const indexes = await buildIndexes(
    { version: 'v2', target, platforms, stores: options, tools: options, settings, whenEmpty: 'skip' },
    signal,
  );
  const { entries, renamed } = await rewriteEntries(original.manifests, indexes, options, signal);
  const manifests = addSociIndexes(entries, indexes, renamed);
  const image = await storeImageIndex({ ...original, mediaType: MEDIA_TYPE.ociIndex, manifests }, options, signal);
  if (options.artifacts !== undefined) rebind(options.artifacts, manifests, image.digest);
  return { target: image, indexes };
}

/** A manifest's descriptor gets the platform that its config names: once it is an entry of an index, nobody looks into the config. */
async function withPlatform({ content, target }: ConvertImageOptions, signal: AbortSignal): Promise<Descriptor> {
  const [first] = await imagePlatforms(content, target, signal);
  if (first === undefined) throw new IndexError('IMAGE_INVALID', 'image does not support any platforms');
  return isManifestType(target.mediaType) ? { ...target, platform: first } : target;
}

function wrap(target: Descriptor): Index {
  return { schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: [target] };
}

interface Rewritten {
  readonly entries: readonly Descriptor[];
  /** New digests of image manifests by their old ones. */
  readonly renamed: ReadonlyMap<string, string>;
}

async function rewriteEntries(
  entries: readonly Descriptor[],
  indexes: readonly BuiltIndex[],
  options: ConvertImageOptions,
  signal: AbortSignal,
): Promise<Rewritten> {
  const renamed = new Map<string, string>();
  const result: Descriptor[] = [];
  for (const entry of entries) {
    const index = indexes.find(({ manifest }) => manifest.digest === entry.digest);
    const rewritten = await rewriteEntry(entry, index, options, signal);
    if (rewritten.digest !== entry.digest) renamed.set(entry.digest, rewritten.digest);
    result.push(rewritten);
  }
  return { entries: result.map((entry) => followReference(entry, ATTESTATION_REFERENCE, renamed)), renamed };
}

/** An image's entry, pointing at the manifest as it is after conversion; any other entry as it is. */
async function rewriteEntry(
  entry: Descriptor,
  index: BuiltIndex | undefined,
  options: ConvertImageOptions,
  signal: AbortSignal,
): Promise<Descriptor> {
  if (!isManifestType(entry.mediaType) || !isImageEntry(entry)) return entry;
  const original = await readIfPresent(entry, options, signal);
  if (original === undefined) {
    if (index === undefined) return entry;
    throw new IndexError('IMAGE_INVALID', `image manifest ${entry.digest} has gone during the conversion`);
  }
  if (sociIndexVersion(original.config.mediaType) !== undefined) return entry;
  const manifest: Manifest = {
    ...original,
    mediaType: MEDIA_TYPE.ociManifest,
    config: { ...original.config, mediaType: MEDIA_TYPE.ociConfig },
    ...(index === undefined ? {} : { annotations: { ...original.annotations, [ANNOTATION.indexDigest]: index.descriptor.digest } }),
  };
  const bytes = encodeManifest(manifest);
  const descriptor = { mediaType: MEDIA_TYPE.ociManifest, digest: sha256Digest(bytes), size: bytes.length };
  const labels = {
    [`${GC_REFERENCE_PREFIX}config`]: manifest.config.digest,
    ...Object.fromEntries(manifest.layers.map(({ digest }, i) => [`${GC_REFERENCE_PREFIX}l.${i}`, digest])),
  };
  await options.blobs.write(descriptor, bytes, { labels }, signal);
  // Of the old descriptor its urls, platform and artifact type stay; annotations are the manifest's own, and embedded data would be the old bytes.
  return {
    ...descriptor,
    ...(entry.urls === undefined ? {} : { urls: entry.urls }),
    ...(manifest.annotations === undefined ? {} : { annotations: manifest.annotations }),
    ...(entry.platform === undefined ? {} : { platform: entry.platform }),
    ...(entry.artifactType === undefined ? {} : { artifactType: entry.artifactType }),
  };
}

/** Undefined when the manifest is not here: of an image with many platforms often only some are. */
async function readIfPresent(entry: Descriptor, { content }: ConvertImageOptions, signal: AbortSignal): Promise<Manifest | undefined> {
  try {
    return await readManifest(content, entry, signal);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Puts each index in the place of an older one for the same platform, else at the end. */
function addSociIndexes(
  entries: readonly Descriptor[],
  indexes: readonly BuiltIndex[],
  renamed: ReadonlyMap<string, string>,
): readonly Descriptor[] {
  const result = entries.map((entry) => followReference(entry, ANNOTATION.imageManifestDigest, renamed));
  for (const { platform, descriptor, manifest } of indexes) {
    const added: Descriptor = {
      ...descriptor,
      annotations: { [ANNOTATION.imageManifestDigest]: renamed.get(manifest.digest) ?? manifest.digest },
      platform,
    };
    const old = result.findIndex(
      (entry) => entry.artifactType === MEDIA_TYPE.sociIndexV2 && entry.platform !== undefined && matchesPlatform(platform, entry.platform),
    );
    if (old < 0) result.push(added);
    else result[old] = added;
  }
  return result;
}

/** The entry with its annotation `key` pointing at the new digest, where it pointed at a manifest that got one. */
function followReference(entry: Descriptor, key: string, renamed: ReadonlyMap<string, string>): Descriptor {
  const next = renamed.get(annotation(entry.annotations, key) ?? '');
  return next === undefined || isManifestOfImage(entry) ? entry : { ...entry, annotations: { ...entry.annotations, [key]: next } };
}

function isManifestOfImage(entry: Descriptor): boolean {
  return isManifestType(entry.mediaType) && isImageEntry(entry);
}

async function storeImageIndex(index: Index, { blobs }: ConvertImageOptions, signal: AbortSignal): Promise<Descriptor> {
  const bytes = encodeIndex(index);
  const descriptor = { mediaType: MEDIA_TYPE.ociIndex, digest: sha256Digest(bytes), size: bytes.length };
  const labels = Object.fromEntries(index.manifests.map(({ digest }, i) => [`${GC_REFERENCE_PREFIX}m.${i}`, digest]));
  await blobs.write(descriptor, bytes, { labels }, signal);
  return descriptor;
}

/** The indexes were noted with the original image; from now on they belong to the converted one. */
function rebind(artifacts: ArtifactsDb, manifests: readonly Descriptor[], imageDigest: string): void {
  for (const entry of manifests) {
    if (entry.artifactType !== MEDIA_TYPE.sociIndexV2) continue;
    const noted = artifacts.get(entry.digest);
    const originalDigest = annotation(entry.annotations, ANNOTATION.imageManifestDigest);
    if (noted?.kind === 'index' && originalDigest !== undefined) artifacts.put({ ...noted, originalDigest, imageDigest });
  }
}
