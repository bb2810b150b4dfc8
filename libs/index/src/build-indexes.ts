import { type Descriptor, formatPlatform, type Manifest, MEDIA_TYPE, type Platform, sha256Digest } from '@soci/image';
import { Ztoc } from '@soci/ztoc';
import { ANNOTATION, GC_REFERENCE_PREFIX } from './annotations.ts';
import type { BuildStores, BuildTools, Settings } from './build-options.ts';
import { IndexError } from './errors.ts';
import { readManifest, selectManifest } from './image-reader.ts';
import { type LayerPlan, planLayer } from './layer-plan.ts';
import { buildLayerZtocs, type LayerToBuild, type LayerZtoc } from './layer-ztocs.ts';
import { buildPrefetch } from './build-prefetch.ts';
import { configDescriptor, EMPTY_CONFIG, encodeSociIndex, sociArtifactType, type SociIndexVersion } from './soci-index.ts';

/** A SOCI index that was built and stored. */
export interface BuiltIndex {
  /** As it was asked for. */
  readonly platform: Platform;
  /** The index, with its artifact type. */
  readonly descriptor: Descriptor;
  /** The image manifest that it is for. */
  readonly manifest: Descriptor;
}

export interface BuildRequest {
  readonly version: SociIndexVersion;
  readonly target: Descriptor;
  readonly platforms: readonly Platform[];
  readonly stores: BuildStores;
  readonly tools: BuildTools;
  readonly settings: Settings;
  /** What an empty index of one platform means: the failure of all, or that this platform has none. */
  readonly whenEmpty: 'fail' | 'skip';
}

/**
 * Builds the indexes of several platforms of one image: all layers of all platforms at once, each distinct layer once, then one manifest a platform.
 *
 * @throws {IndexError} `EMPTY_INDEX` when no layer got a zTOC, `PLATFORM_NOT_FOUND`, `LAYER_UNSUPPORTED`, `BUILD_FAILED`, `IMAGE_INVALID`
 */
export async function buildIndexes(request: BuildRequest, signal: AbortSignal): Promise<readonly BuiltIndex[]> {
  const images = await planImages(request, signal);
  const context = { ...request, inspect: ztocNeedsXattrs };
  const ztocs = await buildLayerZtocs(distinctLayers(images), context, signal);
  const announced = new Set<string>();
  const indexes: BuiltIndex[] = [];
  for (const image of images) {
    const blobs = await describeBlobs(image, ztocs, announced, request, signal);
    if (blobs.length > 0) indexes.push(await storeIndex(image, blobs, request, signal));
    else if (request.whenEmpty === 'fail') throw emptyIndex();
  }
  if (indexes.length === 0) throw emptyIndex();
  return indexes;
}

interface ImagePlan {
  readonly platform: Platform;
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
  readonly layers: readonly { readonly layer: Descriptor; readonly plan: LayerPlan }[];
}

async function planImages({ stores, target, platforms, settings }: BuildRequest, signal: AbortSignal): Promise<readonly ImagePlan[]> {
  const images: ImagePlan[] = [];
  for (const platform of platforms) {
    const descriptor = await selectManifest(stores.content, target, platform, signal);
    const manifest = await readManifest(stores.content, descriptor, signal);
    const layers = manifest.layers.map((layer) => ({ layer, plan: planLayer(layer, settings.minLayerSizeBytes) }));
    images.push({ platform, descriptor, manifest, layers });
  }
  return images;
}

function distinctLayers(images: readonly ImagePlan[]): readonly LayerToBuild[] {
  const byDigest = new Map<string, LayerToBuild>();
  for (const { layer, plan } of images.flatMap(({ layers }) => layers)) {
    if (plan.kind !== 'build') continue;
    const known = byDigest.get(layer.digest);
    if (known !== undefined && (known.algorithm !== plan.algorithm || known.layer.size !== layer.size)) {
      throw new IndexError('IMAGE_INVALID', `layer ${layer.digest} is described in two ways that exclude each other`);
    }
    byDigest.set(layer.digest, { layer, algorithm: plan.algorithm });
  }
  return [...byDigest.values()];
}

/** The descriptors of an image's zTOCs and prefetch artifacts, each kind in the order of the layers; tells what became of every layer. */
async function describeBlobs(
  image: ImagePlan,
  ztocs: ReadonlyMap<string, LayerZtoc>,
  announced: Set<string>,
  request: BuildRequest,
  signal: AbortSignal,
): Promise<readonly Descriptor[]> {
  const { tools, settings } = request;
  const blobs: Descriptor[] = [];
  const ofThisImage: string[] = [];
  for (const { layer, plan } of image.layers) {
    if (plan.kind === 'skip') tools.onEvent?.(plan.event);
    const ztoc = plan.kind === 'build' ? ztocs.get(layer.digest) : undefined;
    if (ztoc === undefined) continue;
    const reused = ztoc.reused || announced.has(layer.digest);
    tools.onEvent?.({ kind: 'ztoc', layerDigest: layer.digest, ztocDigest: ztoc.digest, reused });
    ofThisImage.push(layer.digest);
    blobs.push(ztocDescriptor(layer, ztoc, settings));
  }
  for (const digest of ofThisImage) announced.add(digest);
  return [...blobs, ...(await buildPrefetch(image.manifest.layers, ztocs, request, signal))];
}

function ztocDescriptor(layer: Descriptor, ztoc: LayerZtoc, settings: Settings): Descriptor {
  const disableXattrs = settings.optimizations.includes('xattr') && ztoc.needsXattrs === false;
  return {
    mediaType: MEDIA_TYPE.ztoc,
    digest: ztoc.digest,
    size: ztoc.sizeBytes,
    annotations: {
      [ANNOTATION.layerDigest]: layer.digest,
      [ANNOTATION.layerMediaType]: layer.mediaType,
      [ANNOTATION.spanSize]: settings.spanSizeBytes.toString(),
      ...(disableXattrs ? { [ANNOTATION.disableXattrs]: 'true' } : {}),
    },
  };
}

async function storeIndex(image: ImagePlan, blobs: readonly Descriptor[], request: BuildRequest, signal: AbortSignal): Promise<BuiltIndex> {
  const { version, stores, tools, settings, target } = request;
  const bytes = encodeSociIndex({ version, blobs, buildTool: settings.buildTool, subject: image.descriptor });
  const config = configDescriptor(version);
  await stores.blobs.write(config, EMPTY_CONFIG, {}, signal);
  const descriptor = {
    mediaType: MEDIA_TYPE.ociManifest,
    digest: sha256Digest(bytes),
    size: bytes.length,
    artifactType: sociArtifactType(version),
  };
  await stores.blobs.write(descriptor, bytes, { labels: gcLabels(config, blobs) }, signal);
  stores.artifacts?.put({
    digest: descriptor.digest,
    kind: 'index',
    sizeBytes: bytes.length,
    originalDigest: image.descriptor.digest,
    imageDigest: target.digest,
    platform: formatPlatform(image.platform),
    location: image.descriptor.digest,
    mediaType: MEDIA_TYPE.ociManifest,
    artifactType: descriptor.artifactType,
    createdAt: tools.now?.() ?? new Date(),
    spanSizeBytes: 0n,
  });
  return { platform: image.platform, descriptor, manifest: image.descriptor };
}

function gcLabels(config: Descriptor, blobs: readonly Descriptor[]): Record<string, string> {
  return {
    [`${GC_REFERENCE_PREFIX}config`]: config.digest,
    ...Object.fromEntries(blobs.map(({ digest }, i) => [`${GC_REFERENCE_PREFIX}ztoc.${i}`, digest])),
  };
}

function ztocNeedsXattrs(bytes: Uint8Array): boolean {
  const columns = Ztoc.parse(bytes).columns();
  const names = Buffer.from(columns.bytes.buffer, columns.bytes.byteOffset, columns.bytes.byteLength);
  for (let i = 0; i < columns.count; i++) {
    if ((columns.xattrCount[i] ?? 0) > 0 || names.toString('latin1', columns.nameStart[i], columns.nameEnd[i]).endsWith('.wh..wh..opq'))
      return true;
  }
  return false;
}

function emptyIndex(): IndexError {
  return new IndexError('EMPTY_INDEX', 'no ztocs created, all layers either skipped or produced errors');
}
