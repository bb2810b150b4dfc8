import type { Annotations } from '@soci/image';

/** Keys of annotations in SOCI indexes and in images that have one. */
export const ANNOTATION = {
  /** On the index: who built it. */
  buildTool: 'com.amazon.soci.build-tool-identifier',
  /** On each zTOC and prefetch descriptor: the layer it is for. */
  layerDigest: 'com.amazon.soci.image-layer-digest',
  /** On each zTOC descriptor; note the capital T. */
  layerMediaType: 'com.amazon.soci.image-layer-mediaType',
  /** On each zTOC descriptor: the span size asked for, decimal. */
  spanSize: 'com.amazon.soci.span-size',
  /** On a zTOC descriptor: `true` when the layer has neither extended attributes nor opaque directories. */
  disableXattrs: 'com.amazon.soci.disable-xattrs',
  /** On the index's entry in a converted image index: the image manifest it belongs to. */
  imageManifestDigest: 'com.amazon.soci.image-manifest-digest',
  /** On a converted image manifest: its SOCI index, in the same repository. */
  indexDigest: 'com.amazon.soci.index-digest',
} as const;

/** What BuildKit writes on an attestation's entry of an image index. @see https://docs.docker.com/build/metadata/attestations/attestation-storage/ */
export const ATTESTATION_REFERENCE = 'vnd.docker.reference.digest';

/** Labels by which containerd's garbage collector finds what a blob needs. @see https://github.com/containerd/containerd/blob/main/docs/garbage-collection.md */
export const GC_REFERENCE_PREFIX = 'containerd.io/gc.ref.content.';

/** The name that the Go tool gives itself; part of every index's digest. */
export const BUILD_TOOL = 'AWS SOCI CLI v0.2';

export const DEFAULT_SPAN_SIZE_BYTES = 4_194_304n;
export const DEFAULT_MIN_LAYER_SIZE_BYTES = 10_485_760;

/** One annotation's value, whatever the key is called. */
export function annotation(annotations: Annotations | undefined, key: string): string | undefined {
  return annotations !== undefined && Object.hasOwn(annotations, key) ? annotations[key] : undefined;
}
