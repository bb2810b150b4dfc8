import { isDigest } from '@soci/image';

/** Far above any image's config. */
const MAX_LAYERS = 4096;

/** Digests of the uncompressed layers, as an image's config lists them, in layer order; undefined when it has no such list. */
export function parseDiffIds(config: Uint8Array): readonly string[] | undefined {
  let document: unknown;
  try {
    document = JSON.parse(Buffer.from(config).toString('utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const rootfs = member(document, 'rootfs');
  const diffIds = member(rootfs, 'diff_ids');
  if (!Array.isArray(diffIds) || diffIds.length > MAX_LAYERS) return undefined;
  return diffIds.every((id): id is string => typeof id === 'string' && isDigest(id)) ? diffIds : undefined;
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}
