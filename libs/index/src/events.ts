import type { Descriptor, LayerCompression } from '@soci/image';

/** What happens during a build, for progress bars and for the lines that the Go tool prints. */
export type BuildEvent =
  | {
      readonly kind: 'progress';
      readonly layerDigest: string;
      /** Compressed bytes of the layer read so far. */
      readonly bytesRead: number;
      readonly totalBytes: number;
      readonly done: boolean;
    }
  /** A layer of one platform's image has its zTOC; `reused` when it was built before (in an earlier run, or for an earlier platform of this one). */
  | { readonly kind: 'ztoc'; readonly layerDigest: string; readonly ztocDigest: string; readonly reused: boolean }
  | { readonly kind: 'skipped-small'; readonly layer: Descriptor; readonly minLayerSizeBytes: number }
  | { readonly kind: 'skipped-format'; readonly layer: Descriptor; readonly compression: LayerCompression }
  | { readonly kind: 'prefetch'; readonly layerDigest: string; readonly digest: string }
  | { readonly kind: 'prefetch-not-found'; readonly path: string };

/** The line that the Go tool prints on standard output for an event; undefined for those it is silent about or only warns of. */
export function formatBuildEvent(event: BuildEvent): string | undefined {
  switch (event.kind) {
    case 'ztoc':
      return `layer ${event.layerDigest} -> ztoc ${event.ztocDigest}${event.reused ? ' (already exists)' : ''}`;
    case 'skipped-small': {
      const { digest, mediaType, size } = event.layer;
      return `ztoc skipped - layer ${digest} (${mediaType}) size ${size} is less than min-layer-size ${event.minLayerSizeBytes}`;
    }
    case 'skipped-format': {
      const { digest, mediaType } = event.layer;
      const got = event.compression === 'none' ? '' : event.compression;
      return `ztoc skipped - layer ${digest} (${mediaType}) is compressed in an unsupported format. expect: [tar, gzip, unknown] but got "${got}"`;
    }
    case 'prefetch':
      return `Created prefetch artifact for layer ${event.layerDigest}: ${event.digest}`;
    default:
      return undefined;
  }
}
