import { hasCode } from '@soci/errors';
import { type Descriptor, MEDIA_TYPE, sha256Digest } from '@soci/image';
import type { Logger } from '@soci/log';
import { Ztoc } from '@soci/ztoc';
import { ANNOTATION } from './annotations.ts';
import type { BuildStores, BuildTools, Settings } from './build-options.ts';
import type { LayerZtoc } from './layer-ztocs.ts';
import { findPrefetchSpans, type SearchableLayer } from './prefetch-search.ts';
import { encodePrefetch, mergeSpans } from './prefetch.ts';

export interface PrefetchContext {
  readonly stores: BuildStores;
  readonly tools: BuildTools;
  readonly settings: Settings;
}

/** Makes and stores the prefetch artifacts of one image: one for each layer that holds a wanted file. @returns their descriptors in layer order */
export async function buildPrefetch(
  layers: readonly Descriptor[],
  ztocs: ReadonlyMap<string, LayerZtoc>,
  { stores, tools, settings }: PrefetchContext,
  signal: AbortSignal,
): Promise<readonly Descriptor[]> {
  if (settings.prefetchPaths.length === 0) return [];
  const searchable = new Map<string, SearchableLayer>();
  for (const { digest } of layers.toReversed()) {
    const bytes = ztocs.get(digest)?.bytes;
    if (bytes === undefined || searchable.has(digest)) continue;
    const layer = searchableLayer(digest, bytes, tools.log);
    if (layer !== undefined) searchable.set(digest, layer);
  }
  if (searchable.size === 0) return [];
  const { spans, missing } = findPrefetchSpans(settings.prefetchPaths, [...searchable.values()].reverse());
  for (const path of missing) tools.onEvent?.({ kind: 'prefetch-not-found', path });
  const descriptors: Descriptor[] = [];
  // A layer that the image has twice is listed twice, as by the Go tool.
  for (const { digest: layerDigest } of layers) {
    const found = spans.get(layerDigest);
    if (found === undefined) continue;
    const bytes = encodePrefetch(mergeSpans(found));
    const descriptor = {
      mediaType: MEDIA_TYPE.sociPrefetch,
      digest: sha256Digest(bytes),
      size: bytes.length,
      annotations: { [ANNOTATION.layerDigest]: layerDigest },
    };
    await stores.blobs.write(descriptor, bytes, {}, signal);
    stores.artifacts?.put({
      digest: descriptor.digest,
      kind: 'prefetch',
      sizeBytes: bytes.length,
      originalDigest: layerDigest,
      imageDigest: '',
      platform: '',
      location: '',
      mediaType: MEDIA_TYPE.sociPrefetch,
      artifactType: '',
      createdAt: tools.now?.() ?? new Date(),
      spanSizeBytes: 0n,
    });
    tools.onEvent?.({ kind: 'prefetch', layerDigest, digest: descriptor.digest });
    descriptors.push(descriptor);
  }
  return descriptors;
}

/** Undefined for a zTOC that no reader takes: a layer that begins with an empty gzip member makes one, as with the Go tool. */
function searchableLayer(digest: string, bytes: Uint8Array, log: Logger): SearchableLayer | undefined {
  try {
    const ztoc = Ztoc.parse(bytes);
    const isTar = ztoc.algorithm === 'uncompressed';
    return {
      digest,
      columns: ztoc.columns(),
      // For a tar not clamped to the last span, as by the Go tool.
      spanOf: (offsetBytes) => (isTar ? Math.floor(offsetBytes / ztoc.spanSizeBytes) : ztoc.spanAt(offsetBytes)),
    };
  } catch (error) {
    if (!hasCode(error, 'INVALID', 'UNSUPPORTED')) throw error;
    log.warn({ layerDigest: digest, error }, 'prefetch files are not looked up in a layer whose ztoc cannot be read');
    return undefined;
  }
}
