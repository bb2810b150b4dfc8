import type { ContentStore } from '@soci/content';
import { hasCode } from '@soci/errors';
import {
  type Descriptor,
  formatPlatform,
  type Index,
  isConfigType,
  isIndexType,
  isManifestType,
  type Manifest,
  matchesPlatform,
  MAX_MANIFEST_BYTES,
  normalizePlatform,
  parseConfigPlatform,
  parseIndex,
  parseManifest,
  type Platform,
} from '@soci/image';
import { annotation, ATTESTATION_REFERENCE } from './annotations.ts';
import { IndexError } from './errors.ts';
import { sociIndexVersion } from './soci-index.ts';

/** Indexes inside indexes are followed this far. */
const MAX_DEPTH = 4;

/** @throws {ImageError}, or what the store throws: `NOT_FOUND` when it is not there */
export async function readManifest(content: ContentStore, descriptor: Descriptor, signal: AbortSignal): Promise<Manifest> {
  return parseManifest(await content.read(descriptor.digest, MAX_MANIFEST_BYTES, signal));
}

/** @throws {ImageError}, or what the store throws: `NOT_FOUND` when it is not there */
export async function readIndex(content: ContentStore, descriptor: Descriptor, signal: AbortSignal): Promise<Index> {
  return parseIndex(await content.read(descriptor.digest, MAX_MANIFEST_BYTES, signal));
}

/** Whether the store lacks a blob, as opposed to being broken. */
export function isMissing(error: unknown): boolean {
  return hasCode(error, 'NOT_FOUND');
}

/** Whether an entry of an image index is something about an image rather than one: a SOCI index, or an attestation. */
export function isImageEntry(entry: Descriptor): boolean {
  return sociIndexVersion(entry.artifactType ?? '') === undefined && annotation(entry.annotations, ATTESTATION_REFERENCE) === undefined;
}

/**
 * All platforms that an image says it has, in its order: from its index's entries where they say, else from the configs (those normalised).
 *
 * @throws {ImageError}, or what the store throws when something is needed and missing
 */
export async function imagePlatforms(content: ContentStore, target: Descriptor, signal: AbortSignal): Promise<readonly Platform[]> {
  const found: Platform[] = [];
  await collectPlatforms(content, target, found, 0, signal);
  return found;
}

/**
 * The image manifest for exactly this platform. A target that is a manifest itself is taken as it is, unless its descriptor names another platform.
 *
 * @throws {IndexError} `PLATFORM_NOT_FOUND`; `IMAGE_INVALID` when the target or the entry found is no manifest
 */
export async function selectManifest(
  content: ContentStore,
  target: Descriptor,
  platform: Platform,
  signal: AbortSignal,
): Promise<Descriptor> {
  if (isManifestType(target.mediaType)) {
    if (target.platform === undefined || matchesPlatform(platform, target.platform)) return target;
    throw notFound(platform);
  }
  if (!isIndexType(target.mediaType)) throw new IndexError('IMAGE_INVALID', `${target.digest} is no image (${target.mediaType})`);
  for (const entry of (await readIndex(content, target, signal)).manifests) {
    if (!isImageEntry(entry)) continue;
    const own = entry.platform ?? (await configPlatformOf(content, entry, signal));
    if (own === undefined || !matchesPlatform(platform, own)) continue;
    if (!isManifestType(entry.mediaType)) {
      throw new IndexError('IMAGE_INVALID', `image manifest for ${formatPlatform(platform)}: ${entry.digest} is ${entry.mediaType}`);
    }
    return entry;
  }
  throw notFound(platform);
}

async function collectPlatforms(
  content: ContentStore,
  descriptor: Descriptor,
  found: Platform[],
  depth: number,
  signal: AbortSignal,
): Promise<void> {
  if (!isImageEntry(descriptor)) return;
  if (descriptor.platform !== undefined) {
    if (descriptor.platform.os !== 'unknown' && descriptor.platform.architecture !== 'unknown') found.push(descriptor.platform);
    return;
  }
  if (isIndexType(descriptor.mediaType)) {
    if (depth >= MAX_DEPTH) throw new IndexError('IMAGE_INVALID', `${descriptor.digest}: indexes nested too deep`);
    for (const entry of (await readIndex(content, descriptor, signal)).manifests) {
      await collectPlatforms(content, entry, found, depth + 1, signal);
    }
  } else if (isManifestType(descriptor.mediaType)) {
    const platform = await platformFromConfig(content, descriptor, signal);
    if (platform !== undefined) found.push(platform);
  }
}

/** The platform of an entry that does not say it; undefined when its content is not here. */
async function configPlatformOf(content: ContentStore, entry: Descriptor, signal: AbortSignal): Promise<Platform | undefined> {
  if (!isManifestType(entry.mediaType)) return undefined;
  try {
    return await platformFromConfig(content, entry, signal);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

async function platformFromConfig(content: ContentStore, manifest: Descriptor, signal: AbortSignal): Promise<Platform | undefined> {
  const { config } = await readManifest(content, manifest, signal);
  if (!isConfigType(config.mediaType)) return undefined;
  return normalizePlatform(parseConfigPlatform(await content.read(config.digest, MAX_MANIFEST_BYTES, signal)));
}

function notFound(platform: Platform): IndexError {
  return new IndexError('PLATFORM_NOT_FOUND', `image manifest for ${formatPlatform(platform)}: not found`);
}
