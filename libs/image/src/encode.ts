import type { Descriptor, Platform } from './descriptor.ts';
import { ABSENT, type Annotations, type Index, type Manifest } from './documents.ts';
import { goJson, type GoJsonValue } from './go-json.ts';

/** The bytes that the Go tool writes for a manifest: compact, keys in the order of OCI's Go structs. */
export function encodeManifest(manifest: Manifest): Uint8Array {
  return Buffer.from(
    goJson({
      schemaVersion: manifest.schemaVersion,
      mediaType: nonEmpty(manifest.mediaType),
      artifactType: nonEmpty(manifest.artifactType),
      config: descriptorJson(manifest.config),
      layers: listJson(manifest.layers),
      subject: manifest.subject && descriptorJson(manifest.subject),
      annotations: mapJson(manifest.annotations),
    }),
  );
}

/** The bytes that the Go tool writes for an image index. */
export function encodeIndex(index: Index): Uint8Array {
  return Buffer.from(
    goJson({
      schemaVersion: index.schemaVersion,
      mediaType: nonEmpty(index.mediaType),
      artifactType: nonEmpty(index.artifactType),
      manifests: listJson(index.manifests),
      subject: index.subject && descriptorJson(index.subject),
      annotations: mapJson(index.annotations),
    }),
  );
}

function descriptorJson(descriptor: Descriptor): GoJsonValue {
  return {
    mediaType: descriptor.mediaType,
    digest: descriptor.digest,
    size: descriptor.size,
    urls: listOrNone(descriptor.urls),
    annotations: mapJson(descriptor.annotations),
    data: nonEmpty(descriptor.data),
    platform: descriptor.platform && platformJson(descriptor.platform),
    artifactType: nonEmpty(descriptor.artifactType),
  };
}

function platformJson(platform: Platform): GoJsonValue {
  return {
    architecture: platform.architecture,
    os: platform.os,
    'os.version': nonEmpty(platform['os.version']),
    'os.features': listOrNone(platform['os.features']),
    variant: nonEmpty(platform.variant),
  };
}

function listJson(descriptors: readonly Descriptor[]): GoJsonValue {
  return descriptors === ABSENT ? null : descriptors.map(descriptorJson);
}

function listOrNone(texts: readonly string[] | undefined): GoJsonValue | undefined {
  return texts === undefined || texts.length === 0 ? undefined : texts;
}

function mapJson(annotations: Annotations | undefined): GoJsonValue | undefined {
  const entries = Object.entries(annotations ?? {});
  return entries.length === 0 ? undefined : new Map(entries);
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}
