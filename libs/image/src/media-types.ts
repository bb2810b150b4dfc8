/** Media types of images, as OCI and Docker name them. */
export const MEDIA_TYPE = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  ociLayerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  dockerManifestList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  dockerLayerZstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
  dockerForeignLayer: 'application/vnd.docker.image.rootfs.foreign.diff.tar',
  dockerForeignLayerGzip: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
  /** Artifact type and config media type of a SOCI index with a subject. */
  sociIndexV1: 'application/vnd.amazon.soci.index.v1+json',
  /** Artifact type and config media type of a SOCI index that an annotation of the image names. */
  sociIndexV2: 'application/vnd.amazon.soci.index.v2+json',
  ztoc: 'application/octet-stream',
  sociPrefetch: 'application/vnd.amazon.soci.prefetch.v1+json',
} as const;

/** The types to accept when any kind of image manifest will do, best first. */
export const IMAGE_MEDIA_TYPES: readonly string[] = [
  MEDIA_TYPE.ociIndex,
  MEDIA_TYPE.ociManifest,
  MEDIA_TYPE.dockerManifestList,
  MEDIA_TYPE.dockerManifest,
];

const OCI_LAYER_PREFIX = 'application/vnd.oci.image.layer.';
const OCI_NON_DISTRIBUTABLE_LAYER = 'application/vnd.oci.image.layer.nondistributable.v1.tar';

const DOCKER_LAYER_COMPRESSION: ReadonlyMap<string, LayerCompression> = new Map([
  [MEDIA_TYPE.dockerLayer, 'unknown'],
  [MEDIA_TYPE.dockerForeignLayer, 'unknown'],
  [MEDIA_TYPE.dockerLayerGzip, 'gzip'],
  [MEDIA_TYPE.dockerForeignLayerGzip, 'gzip'],
  [MEDIA_TYPE.dockerLayerZstd, 'zstd'],
]);

export function isIndexType(mediaType: string): boolean {
  return mediaType === MEDIA_TYPE.ociIndex || mediaType === MEDIA_TYPE.dockerManifestList;
}

export function isManifestType(mediaType: string): boolean {
  return mediaType === MEDIA_TYPE.ociManifest || mediaType === MEDIA_TYPE.dockerManifest;
}

export function isConfigType(mediaType: string): boolean {
  return mediaType === MEDIA_TYPE.ociConfig || mediaType === MEDIA_TYPE.dockerConfig;
}

export function isLayerType(mediaType: string): boolean {
  return mediaType.startsWith(OCI_LAYER_PREFIX) || DOCKER_LAYER_COMPRESSION.has(baseType(mediaType));
}

/**
 * How a layer is packed, as its media type says. `unknown` is Docker's plain tar type, which has been used for packed layers too; `none` a type
 * that tells nothing (encrypted, or OCI's non-distributable plain tar); `undefined` a type that is no layer type we know.
 */
export type LayerCompression = 'gzip' | 'zstd' | 'uncompressed' | 'unknown' | 'none';

/** @see https://github.com/containerd/containerd/blob/main/core/images/mediatypes.go the rules that the Go tool follows */
export function layerCompression(mediaType: string): LayerCompression | undefined {
  const base = baseType(mediaType);
  const docker = DOCKER_LAYER_COMPRESSION.get(base);
  if (docker !== undefined) return base === mediaType ? docker : 'none';
  if (base !== MEDIA_TYPE.ociLayer && base !== OCI_NON_DISTRIBUTABLE_LAYER) return undefined;
  if (mediaType === MEDIA_TYPE.ociLayer) return 'uncompressed';
  const last = mediaType.slice(base.length).split('+').sort().at(-1);
  return last === 'gzip' || last === 'zstd' ? last : 'none';
}

function baseType(mediaType: string): string {
  return mediaType.split('+', 1)[0] ?? '';
}
