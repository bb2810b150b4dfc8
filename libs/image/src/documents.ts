import type { Descriptor, Platform } from './descriptor.ts';
import { isDigest } from './digest.ts';
import { ImageError } from './errors.ts';
import { decodeGoUtf8 } from './go-text.ts';
import { isIndexType, isManifestType } from './media-types.ts';

/** An image manifest. Fields that OCI does not define are not kept: the Go tool drops them when it writes a manifest again. */
export interface Manifest {
  readonly schemaVersion: number;
  readonly mediaType?: string;
  readonly artifactType?: string;
  readonly config: Descriptor;
  /** `ABSENT` where the document had none. */
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Annotations;
}

/** An image index or manifest list. */
export interface Index {
  readonly schemaVersion: number;
  readonly mediaType?: string;
  readonly artifactType?: string;
  /** `ABSENT` where the document had none. */
  readonly manifests: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Annotations;
}

export type Annotations = Readonly<Record<string, string>>;

/** Stands for a list that the document did not have: Go writes `null` for it, and `[]` for an empty one. */
export const ABSENT: readonly Descriptor[] = Object.freeze([]);

/** What a registry may refuse above, and what we read at most. @see https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
/** Far above any image; bounds what one document makes us do. */
export const MAX_DESCRIPTORS = 4096;

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/**
 * Parses an image manifest (OCI or Docker schema 2).
 *
 * @throws {ImageError} `DOCUMENT_TOO_LARGE`; `DOCUMENT_INVALID` when it is no such document, or a digest, a size or a count in it is not sane
 */
export function parseManifest(bytes: Uint8Array): Manifest {
  const document = parseDocument(bytes);
  const { mediaType } = document;
  if (document.fields.has('fsLayers')) throw invalid('schema 1 not supported');
  if (document.fields.has('manifests') || isIndexType(mediaType ?? '')) throw invalid('expected manifest but found index');
  return {
    ...document.common,
    config: descriptor(document.fields.get('config'), 'config'),
    layers: descriptors(document.fields.get('layers'), 'layers'),
    ...document.tail,
  };
}

/**
 * Parses an image index (OCI) or manifest list (Docker).
 *
 * @throws {ImageError} as `parseManifest`
 */
export function parseIndex(bytes: Uint8Array): Index {
  const document = parseDocument(bytes);
  if (document.fields.has('fsLayers')) throw invalid('schema 1 not supported');
  if (document.fields.has('config') || document.fields.has('layers') || isManifestType(document.mediaType ?? '')) {
    throw invalid('expected index but found manifest');
  }
  return { ...document.common, manifests: descriptors(document.fields.get('manifests'), 'manifests'), ...document.tail };
}

/**
 * The platform that an image's config claims, exactly as written there (empty texts where it is silent).
 *
 * @throws {ImageError} `DOCUMENT_INVALID`
 */
export function parseConfigPlatform(bytes: Uint8Array): Platform {
  return platform(parseObject(bytes), 'config');
}

interface Document {
  readonly fields: ReadonlyMap<string, unknown>;
  readonly mediaType: string | undefined;
  readonly common: { readonly schemaVersion: number; readonly mediaType?: string; readonly artifactType?: string };
  readonly tail: { readonly subject?: Descriptor; readonly annotations?: Annotations };
}

function parseDocument(bytes: Uint8Array): Document {
  const fields = parseObject(bytes);
  const version = fields.get('schemaVersion') ?? 0;
  if (!Number.isSafeInteger(version)) throw invalid('schemaVersion is not an integer');
  const mediaType = optionalText(fields.get('mediaType'), 'mediaType');
  const artifactType = optionalText(fields.get('artifactType'), 'artifactType');
  const subject = fields.get('subject');
  const annotations = textMap(fields.get('annotations'), 'annotations');
  return {
    fields,
    mediaType,
    common: {
      schemaVersion: version as number,
      ...(mediaType === undefined ? {} : { mediaType }),
      ...(artifactType === undefined ? {} : { artifactType }),
    },
    tail: {
      ...(subject === undefined ? {} : { subject: descriptor(subject, 'subject') }),
      ...(annotations === undefined ? {} : { annotations }),
    },
  };
}

function parseObject(bytes: Uint8Array): ReadonlyMap<string, unknown> {
  if (bytes.length > MAX_MANIFEST_BYTES) {
    throw new ImageError('DOCUMENT_TOO_LARGE', `document of ${bytes.length} bytes is larger than ${MAX_MANIFEST_BYTES}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(decodeGoUtf8(bytes));
  } catch (cause) {
    throw new ImageError('DOCUMENT_INVALID', 'not JSON', { cause });
  }
  return members(value, 'document');
}

/** The members of an object as a map, so that no name of a member is a name of JavaScript's. `null` stands for nothing, as in Go. */
function members(value: unknown, where: string): ReadonlyMap<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`${where} is not an object`);
  return new Map(Object.entries(value).filter(([, member]) => member !== null));
}

function descriptors(value: unknown, where: string): readonly Descriptor[] {
  if (value === undefined) return ABSENT;
  if (!Array.isArray(value)) throw invalid(`${where} is not a list`);
  if (value.length > MAX_DESCRIPTORS) throw invalid(`${where} has ${value.length} entries, more than ${MAX_DESCRIPTORS}`);
  return value.map((item, i) => descriptor(item, `${where}[${i}]`));
}

function descriptor(value: unknown, where: string): Descriptor {
  const fields = members(value, where);
  const digest = text(fields.get('digest'), `${where}.digest`);
  if (!isDigest(digest)) throw invalid(`${where}.digest is not a digest`);
  const size = fields.get('size') ?? 0;
  if (!Number.isSafeInteger(size) || (size as number) < 0) throw invalid(`${where}.size is not a size`);
  const urls = textList(fields.get('urls'), `${where}.urls`);
  const annotations = textMap(fields.get('annotations'), `${where}.annotations`);
  const data = optionalText(fields.get('data'), `${where}.data`);
  if (data !== undefined && !BASE64.test(data)) throw invalid(`${where}.data is not base64`);
  const platformValue = fields.get('platform');
  const artifactType = optionalText(fields.get('artifactType'), `${where}.artifactType`);
  return {
    mediaType: text(fields.get('mediaType') ?? '', `${where}.mediaType`),
    digest,
    size: size as number,
    ...(urls === undefined ? {} : { urls }),
    ...(annotations === undefined ? {} : { annotations }),
    ...(data === undefined ? {} : { data: Buffer.from(data, 'base64').toString('base64') }),
    ...(platformValue === undefined ? {} : { platform: platform(members(platformValue, `${where}.platform`), `${where}.platform`) }),
    ...(artifactType === undefined ? {} : { artifactType }),
  };
}

function platform(fields: ReadonlyMap<string, unknown>, where: string): Platform {
  const version = optionalText(fields.get('os.version'), `${where}.os.version`);
  const features = textList(fields.get('os.features'), `${where}.os.features`);
  const variant = optionalText(fields.get('variant'), `${where}.variant`);
  return {
    architecture: text(fields.get('architecture') ?? '', `${where}.architecture`),
    os: text(fields.get('os') ?? '', `${where}.os`),
    ...(version === undefined ? {} : { 'os.version': version }),
    ...(features === undefined ? {} : { 'os.features': features }),
    ...(variant === undefined ? {} : { variant }),
  };
}

function text(value: unknown, where: string): string {
  if (typeof value !== 'string') throw invalid(`${where} is not a text`);
  return value.toWellFormed();
}

/** An empty text is none: Go does not write it again. */
function optionalText(value: unknown, where: string): string | undefined {
  return value === undefined || value === '' ? undefined : text(value, where);
}

function textList(value: unknown, where: string): readonly string[] | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw invalid(`${where} is not a list`);
  return value.length === 0 ? undefined : value.map((item, i) => text(item, `${where}[${i}]`));
}

/** Annotations, in an object without a prototype: every key is one of the document's, also `__proto__`. */
function textMap(value: unknown, where: string): Annotations | undefined {
  if (value === undefined) return undefined;
  const fields = members(value, where);
  if (fields.size === 0) return undefined;
  const result = Object.create(null) as Record<string, string>;
  for (const [key, member] of fields) result[key.toWellFormed()] = text(member, `${where}[${JSON.stringify(key)}]`);
  return result;
}

function invalid(why: string): ImageError {
  return new ImageError('DOCUMENT_INVALID', `manifest: ${why}`);
}
