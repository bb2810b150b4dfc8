import { type Descriptor, isLayerType, layerCompression, MEDIA_TYPE } from '@soci/image';
import { IndexError } from './errors.ts';
import type { BuildEvent } from './events.ts';

/** What is to be done about one layer. */
export type LayerPlan =
  | { readonly kind: 'build'; readonly algorithm: 'gzip' | 'uncompressed' }
  | { readonly kind: 'skip'; readonly event: BuildEvent }
  | { readonly kind: 'ignore' };

/**
 * Decides by media type and size whether a layer gets a zTOC. The size is looked at first, so a small layer in an unknown packing is only small.
 *
 * @throws {IndexError} `LAYER_UNSUPPORTED` when the image holds something that is no layer
 */
export function planLayer(layer: Descriptor, minLayerSizeBytes: number): LayerPlan {
  if (layer.mediaType === MEDIA_TYPE.sociPrefetch) return { kind: 'ignore' };
  if (!isLayerType(layer.mediaType)) throw unsupported(layer, 'not a layer mediaType');
  if (layer.size < minLayerSizeBytes) return { kind: 'skip', event: { kind: 'skipped-small', layer, minLayerSizeBytes } };
  const compression = layerCompression(layer.mediaType);
  switch (compression) {
    case undefined:
      throw unsupported(layer, 'could not determine layer compression: unrecognised mediatype');
    case 'gzip':
      return { kind: 'build', algorithm: 'gzip' };
    case 'uncompressed':
    case 'unknown':
      return { kind: 'build', algorithm: 'uncompressed' };
    default:
      return { kind: 'skip', event: { kind: 'skipped-format', layer, compression } };
  }
}

function unsupported(layer: Descriptor, why: string): IndexError {
  return new IndexError('LAYER_UNSUPPORTED', `layer ${layer.digest}: ${why} (${JSON.stringify(layer.mediaType.slice(0, 200))})`);
}
