import { hasCode } from '@soci/errors';
import { MAX_MANIFEST_BYTES, MEDIA_TYPE, type Descriptor } from '@soci/image';
import {
  annotation,
  ANNOTATION,
  imagePlatforms,
  parseSociIndex,
  selectManifest,
  type Artifact,
  type ArtifactsDb,
  type SociIndex,
} from '@soci/index';
import { CliError } from '../errors.ts';
import type { Session } from '../session.ts';
import { formatTable } from '../table.ts';

export interface ZtocListOptions {
  readonly ztocDigest?: string;
  readonly imageRef?: string;
  readonly quiet?: boolean;
}

const HEADER = ['DIGEST', 'SIZE', 'LAYER DIGEST'];

/** `soci ztoc list`: the zTOCs that were built here, or those of one image. */
export async function ztocList(
  _: readonly string[],
  { ztocDigest = '', imageRef = '', quiet }: ZtocListOptions,
  session: Session,
): Promise<void> {
  const all = imageRef === '' ? (await session.artifacts()).list({ kind: 'ztoc' }) : await ofImage(imageRef, session);
  const ztocs = all.filter(({ digest }) => ztocDigest === '' || digest === ztocDigest);
  if (imageRef !== '' && ztocDigest !== '' && ztocs.length === 0) {
    throw new CliError('NOT_FOUND', "the specified ztoc doesn't exist or is not associated with the specified image");
  }
  if (quiet === true) {
    for (const { digest } of ztocs) session.print(digest);
    return;
  }
  const rows = ztocs.map(({ digest, sizeBytes, originalDigest }) => [digest, String(sizeBytes), originalDigest]);
  session.stdout.write(formatTable([HEADER, ...rows]));
}

/** In the order of the indexes and of their layers. An index whose blob is gone is passed over. */
async function ofImage(ref: string, session: Session): Promise<readonly Artifact[]> {
  const { target } = await session.image(ref);
  const { content } = await session.containerd();
  const artifacts = await session.artifacts();
  const found: Artifact[] = [];
  for (const platform of await imagePlatforms(content, target, session.signal)) {
    const manifest = await selectManifest(content, target, platform, session.signal);
    for (const { digest } of artifacts.list({ kind: 'index', originalDigest: manifest.digest })) {
      const index = await readIndexBlob(digest, session);
      for (const blob of index?.blobs ?? []) {
        if (blob.mediaType === MEDIA_TYPE.ztoc) found.push(entryOf(blob, artifacts));
      }
    }
  }
  return found;
}

async function readIndexBlob(digest: string, session: Session): Promise<SociIndex | undefined> {
  try {
    return parseSociIndex(await (await session.blobs()).read(digest, MAX_MANIFEST_BYTES, session.signal));
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}

function entryOf({ digest, annotations }: Descriptor, artifacts: ArtifactsDb): Artifact {
  const layerDigest = annotation(annotations, ANNOTATION.layerDigest) ?? '';
  const [entry = artifacts.get(digest)] = artifacts.list({ kind: 'ztoc', digest, originalDigest: layerDigest });
  if (entry !== undefined) return entry;
  throw new CliError('NOT_FOUND', `failed to get ztoc from artifacts store (try running "soci rebuild-db" first): ${digest} is not there`);
}
