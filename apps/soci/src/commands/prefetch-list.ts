import { hasCode } from '@soci/errors';
import { goJson } from '@soci/image';
import { countSpans, MAX_PREFETCH_BYTES, parsePrefetch, type Artifact } from '@soci/index';
import { formatAge } from '../go-values.ts';
import { indentJson } from '../indent-json.ts';
import type { Session } from '../session.ts';
import { formatTable } from '../table.ts';

const HEADER = ['DIGEST', 'LAYER DIGEST', 'SPANS', 'CREATED'];

/** `soci prefetch list`. */
export async function prefetchList(_: readonly string[], { json }: { readonly json?: boolean }, session: Session): Promise<void> {
  const artifacts = (await session.artifacts()).list({ kind: 'prefetch' });
  const counted = [];
  for (const artifact of artifacts) counted.push({ artifact, spans: await spansOf(artifact, session) });
  if (json === true) {
    const items = counted.map(({ artifact, spans }) => ({
      Digest: artifact.digest,
      LayerDigest: artifact.originalDigest,
      TotalSpans: spans ?? -1,
      CreatedAt: artifact.createdAt.toISOString().replace(/\.?0*Z$/, 'Z'),
    }));
    session.print(items.length === 0 ? 'null' : indentJson(goJson(items)));
    return;
  }
  const now = session.host.now();
  const rows = counted.map(({ artifact, spans }) => [
    artifact.digest,
    artifact.originalDigest,
    spans === undefined ? 'N/A' : String(spans),
    formatAge(artifact.createdAt.getTime(), now),
  ]);
  session.stdout.write(formatTable([HEADER, ...rows]));
}

/** Undefined when the artifact cannot be read: it is listed all the same. */
async function spansOf({ digest }: Artifact, session: Session): Promise<number | undefined> {
  try {
    return countSpans(parsePrefetch(await (await session.blobs()).read(digest, MAX_PREFETCH_BYTES, session.signal)));
  } catch (error) {
    if (session.signal.aborted || !hasCode(error, 'NOT_FOUND', 'DIGEST_MISMATCH', 'TOO_LARGE', 'PREFETCH_INVALID', 'UNAVAILABLE'))
      throw error;
    session.log.debug({ digest, error }, 'prefetch artifact not readable');
    return undefined;
  }
}
