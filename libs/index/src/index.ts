export {
  annotation,
  ANNOTATION,
  ATTESTATION_REFERENCE,
  BUILD_TOOL,
  DEFAULT_MIN_LAYER_SIZE_BYTES,
  DEFAULT_SPAN_SIZE_BYTES,
} from './annotations.ts';
export { type Artifact, type ArtifactFilter, type ArtifactKind, ARTIFACTS_FILE, ArtifactsDb } from './artifacts-db.ts';
export type { BuiltIndex } from './build-indexes.ts';
export {
  type BuildSettings,
  type BuildStores,
  type BuildTools,
  type Optimization,
  OPTIMIZATIONS,
  parseOptimization,
  type ZtocBuilding,
} from './build-options.ts';
export { convertLayout, type ConvertLayoutOptions, LAYOUT_FORMATS, type LayoutFormat } from './convert-layout.ts';
export { type ConvertedImage, convertImage, type ConvertImageOptions } from './convert.ts';
export { createIndexes, type CreateIndexesOptions, type PlatformChoice } from './create.ts';
export { IndexError, type IndexErrorCode } from './errors.ts';
export { type BuildEvent, formatBuildEvent } from './events.ts';
export { imagePlatforms, readIndex, readManifest, selectManifest } from './image-reader.ts';
export { countSpans, encodePrefetch, MAX_PREFETCH_BYTES, mergeSpans, parsePrefetch, type PrefetchSpan } from './prefetch.ts';
export {
  configDescriptor,
  EMPTY_CONFIG,
  EMPTY_CONFIG_DIGEST,
  encodeSociIndex,
  parseSociIndex,
  sociArtifactType,
  type SociIndex,
  sociIndexVersion,
  type SociIndexVersion,
  type ZtocEntry,
} from './soci-index.ts';
