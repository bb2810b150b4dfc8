import { parsePlatform, formatPlatform, MEDIA_TYPE, type Platform } from '@soci/image';
import { imagePlatforms, selectManifest, sociIndexVersion, type Artifact } from '@soci/index';
import type { ImageRecord } from '@soci/content';
import { hasCode } from '@soci/errors';
import { formatAge } from '../go-values.ts';
import type { Session } from '../session.ts';
import { formatTable } from '../table.ts';

export interface IndexListOptions {
  readonly ref?: string;
  readonly quiet?: boolean;
  readonly platform?: readonly string[];
}

const HEADER = ['DIGEST', 'SIZE', 'IMAGE REF', 'PLATFORM', 'MEDIA TYPE', 'MANIFEST VERSION', 'CREATED'];

/** `soci index list`: the indexes that were built here, newest first. */
export async function indexList(_: readonly string[], { ref, quiet, platform = [] }: IndexListOptions, session: Session): Promise<void> {
  const platforms = platform.map((text) => parsePlatform(text));
  const isWanted = ref === undefined || ref === '' ? byPlatform(platforms) : await byImage(ref, platforms, session);
  const artifacts = (await session.artifacts())
    .list({ kind: 'index' })
    .filter(isWanted)
    .sort((a, b) => b.createdAt.getTime() - a.createdAt.getTime());
  if (quiet === true) {
    for (const { digest } of artifacts) session.print(digest);
    return;
  }
  const images = artifacts.length === 0 ? [] : await listImages(session);
  session.stdout.write(formatTable([HEADER, ...artifacts.flatMap((artifact) => rowsOf(artifact, images, session.host.now()))]));
}

function byPlatform(platforms: readonly Platform[]): (artifact: Artifact) => boolean {
  const names = new Set(platforms.map(formatPlatform));
  return ({ platform }) => names.size === 0 || names.has(platform);
}

async function byImage(ref: string, platforms: readonly Platform[], session: Session): Promise<(artifact: Artifact) => boolean> {
  const { target } = await session.image(ref);
  const { content } = await session.containerd();
  const wanted = platforms.length > 0 ? platforms : await imagePlatforms(content, target, session.signal);
  const manifests = new Set<string>();
  for (const platform of wanted) manifests.add((await selectManifest(content, target, platform, session.signal)).digest);
  return ({ originalDigest }) => manifests.has(originalDigest);
}

/** Names are shown where they can be had: without containerd the list goes without them. */
async function listImages(session: Session): Promise<readonly ImageRecord[]> {
  const { images } = await session.containerd();
  try {
    return await images.list(session.signal);
  } catch (error) {
    if (hasCode(error, 'UNAVAILABLE', 'STORE_BROKEN')) return [];
    throw error;
  }
}

function rowsOf(artifact: Artifact, images: readonly ImageRecord[], nowMs: number): readonly (readonly string[])[] {
  const { digest, sizeBytes, platform, mediaType, artifactType, createdAt } = artifact;
  const names = images.filter(({ target }) => target.digest === artifact.imageDigest).map(({ name }) => name);
  const version = sociIndexVersion(artifactType) ?? '';
  const created = formatAge(createdAt.getTime(), nowMs);
  return (names.length === 0 ? [''] : names).map((name) => [
    digest,
    String(sizeBytes),
    name,
    platform,
    mediaType || MEDIA_TYPE.ociManifest,
    version,
    created,
  ]);
}
