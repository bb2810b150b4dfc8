export type { Descriptor, Platform } from './descriptor.ts';
export { isDigest, parseDigest, sha256Digest, type Digest, type DigestAlgorithm } from './digest.ts';
export {
  ABSENT,
  MAX_DESCRIPTORS,
  MAX_MANIFEST_BYTES,
  parseConfigPlatform,
  parseIndex,
  parseManifest,
  type Annotations,
  type Index,
  type Manifest,
} from './documents.ts';
export { encodeIndex, encodeManifest } from './encode.ts';
export { ImageError, type ImageErrorCode } from './errors.ts';
export { goJson, type GoJsonValue } from './go-json.ts';
export {
  IMAGE_MEDIA_TYPES,
  isConfigType,
  isIndexType,
  isLayerType,
  isManifestType,
  layerCompression,
  MEDIA_TYPE,
  type LayerCompression,
} from './media-types.ts';
export { dedupePlatforms, matchesPlatform } from './platform-match.ts';
export { formatPlatform, hostPlatform, normalizePlatform, parsePlatform } from './platform.ts';
export {
  hasDigest,
  ImageReference,
  parseContainerdReference,
  parseReference,
  type ContainerdReference,
} from './reference.ts';
