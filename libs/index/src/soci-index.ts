import {
  type Annotations,
  type Descriptor,
  encodeManifest,
  ImageError,
  isDigest,
  type Manifest,
  MEDIA_TYPE,
  parseManifest,
} from '@soci/image';
import { annotation, ANNOTATION } from './annotations.ts';
import { IndexError } from './errors.ts';

/** v1 names its image by `subject` and is found by the referrers API; v2 is named by an annotation of the image. */
export type SociIndexVersion = 'v1' | 'v2';

/** A layer's zTOC, as an index lists it. */
export interface ZtocEntry {
  readonly descriptor: Descriptor;
  readonly layerDigest: string;
  /** What the layer is, where the index says so. */
  readonly layerMediaType: string | undefined;
  /** The builder saw neither extended attributes nor opaque directories in the layer. */
  readonly disableXattrs: boolean;
}

/** A SOCI index as its reader needs it. */
export interface SociIndex {
  readonly version: SociIndexVersion;
  /** By layer digest; when a layer is listed twice the last entry counts, as in the Go snapshotter. */
  readonly ztocs: ReadonlyMap<string, ZtocEntry>;
  /** Prefetch artifacts by layer digest; when a layer is listed twice the first entry counts, as in the Go snapshotter. */
  readonly prefetch: ReadonlyMap<string, Descriptor>;
  /** zTOCs and prefetch artifacts in the order of the document, as they stand there. */
  readonly blobs: readonly Descriptor[];
  /** The image manifest, v1 only. */
  readonly subject: Descriptor | undefined;
  readonly annotations: Annotations;
}

/** The two bytes of every index's config. */
export const EMPTY_CONFIG: Uint8Array = Buffer.from('{}');
export const EMPTY_CONFIG_DIGEST = 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a';

const ARTIFACT_TYPE = { v1: MEDIA_TYPE.sociIndexV1, v2: MEDIA_TYPE.sociIndexV2 } as const;

/** The media type that tells a SOCI index of this version from other manifests. */
export function sociArtifactType(version: SociIndexVersion): string {
  return ARTIFACT_TYPE[version];
}

/** The version that a config's or an artifact's media type stands for. */
export function sociIndexVersion(mediaType: string): SociIndexVersion | undefined {
  return mediaType === ARTIFACT_TYPE.v1 ? 'v1' : mediaType === ARTIFACT_TYPE.v2 ? 'v2' : undefined;
}

/** The config descriptor of an index; its blob is `EMPTY_CONFIG`. */
export function configDescriptor(version: SociIndexVersion): Descriptor {
  return { mediaType: ARTIFACT_TYPE[version], digest: EMPTY_CONFIG_DIGEST, size: EMPTY_CONFIG.length };
}

export interface EncodeIndexOptions {
  readonly version: SociIndexVersion;
  /** zTOCs in layer order, then prefetch artifacts in layer order. */
  readonly blobs: readonly Descriptor[];
  readonly buildTool: string;
  /** The image manifest; v1 needs it, v2 has none. */
  readonly subject?: Descriptor;
}

/**
 * The bytes of an index: a pure function of image, options and zTOCs, with the same digest as the Go tool's.
 *
 * @throws {IndexError} `INDEX_INVALID` for v1 without subject
 */
export function encodeSociIndex({ version, blobs, buildTool, subject }: EncodeIndexOptions): Uint8Array {
  if (version === 'v1' && subject === undefined) throw new IndexError('INDEX_INVALID', 'a v1 index needs the image manifest it is for');
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    config: configDescriptor(version),
    layers: blobs,
    ...(version === 'v1' && subject !== undefined
      ? { subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.size } }
      : {}),
    annotations: { [ANNOTATION.buildTool]: buildTool },
  };
  return encodeManifest(manifest);
}

/**
 * Parses an index from a registry. Entries of other media types, or without a layer digest, are left out of the maps.
 *
 * @throws {IndexError} `INDEX_INVALID` when it is no manifest within limits, or no SOCI index of a known version
 */
export function parseSociIndex(bytes: Uint8Array): SociIndex {
  const manifest = readManifest(bytes);
  const version = sociIndexVersion(manifest.config.mediaType);
  if (version === undefined) throw new IndexError('INDEX_INVALID', `unknown index version: ${manifest.config.mediaType.slice(0, 100)}`);
  const ztocs = new Map<string, ZtocEntry>();
  const prefetch = new Map<string, Descriptor>();
  for (const descriptor of manifest.layers) {
    const layerDigest = annotation(descriptor.annotations, ANNOTATION.layerDigest);
    if (layerDigest === undefined || !isDigest(layerDigest)) continue;
    if (descriptor.mediaType === MEDIA_TYPE.ztoc) ztocs.set(layerDigest, ztocEntry(descriptor, layerDigest));
    else if (descriptor.mediaType === MEDIA_TYPE.sociPrefetch && !prefetch.has(layerDigest)) prefetch.set(layerDigest, descriptor);
  }
  return { version, ztocs, prefetch, blobs: manifest.layers, subject: manifest.subject, annotations: manifest.annotations ?? {} };
}

function readManifest(bytes: Uint8Array): Manifest {
  try {
    return parseManifest(bytes);
  } catch (cause) {
    if (cause instanceof ImageError) throw new IndexError('INDEX_INVALID', 'not a SOCI index', { cause });
    throw cause;
  }
}

function ztocEntry(descriptor: Descriptor, layerDigest: string): ZtocEntry {
  return {
    descriptor,
    layerDigest,
    layerMediaType: annotation(descriptor.annotations, ANNOTATION.layerMediaType),
    // The spellings that Go's strconv.ParseBool takes for true: the Go snapshotter reads the annotation with it.
    disableXattrs: ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(annotation(descriptor.annotations, ANNOTATION.disableXattrs) ?? ''),
  };
}
