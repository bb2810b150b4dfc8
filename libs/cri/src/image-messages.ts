import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { CriError } from './errors.ts';
import type { AuthConfig } from './login.ts';

/** What is needed of a PullImageRequest. */
export interface PullRequest {
  /** As the client wrote it; empty when it wrote none. */
  readonly image: string;
  readonly auth: AuthConfig | undefined;
  /** Kubernetes namespace of the pod that the image is pulled for; empty for a request without a pod (`crictl pull`). */
  readonly namespace: string;
}

/** A Kubernetes namespace is a DNS label; anything longer is none. */
const MAX_NAMESPACE_LENGTH = 253;
const MAX_IMAGE_LENGTH = 4 << 10;
const NO_BYTES = new Uint8Array();
const EMPTY_AUTH: AuthConfig = {
  username: '',
  password: NO_BYTES,
  auth: NO_BYTES,
  serverAddress: '',
  identityToken: NO_BYTES,
  registryToken: NO_BYTES,
};

/*
 * Read field by field and not with the generated code, for two reasons: that would make texts of the secrets, which cannot be wiped; and runtime.v1alpha2
 * has the same numbers as runtime.v1, so one reader serves both.
 */

/** @throws {CriError} `INVALID` */
export function readPullRequest(message: Uint8Array): PullRequest {
  const found: { image: string; auth: AuthConfig | undefined; namespace: string } = { image: '', auth: undefined, namespace: '' };
  eachField(message, {
    1: (spec) => void (found.image = readImage(spec)),
    2: (auth) => void (found.auth = readAuth(auth)),
    3: (sandbox) => void (found.namespace = readNamespace(sandbox)),
  });
  return found;
}

/** The image's name or id in a RemoveImageRequest. @throws {CriError} `INVALID` */
export function readRemoveRequest(message: Uint8Array): string {
  let image = '';
  eachField(message, { 1: (spec) => void (image = readImage(spec)) });
  return image;
}

/** The image's id in a PullImageResponse; empty when there is none. @throws {CriError} `INVALID` */
export function readPullResponse(message: Uint8Array): string {
  let id = '';
  eachField(message, { 1: (bytes) => void (id = text(bytes, MAX_IMAGE_LENGTH)) });
  return id;
}

function readImage(spec: Uint8Array): string {
  let image = '';
  eachField(spec, { 1: (bytes) => void (image = text(bytes, MAX_IMAGE_LENGTH)) });
  return image;
}

function readNamespace(sandbox: Uint8Array): string {
  let namespace = '';
  eachField(sandbox, {
    1: (metadata) => eachField(metadata, { 3: (bytes) => void (namespace = text(bytes, MAX_NAMESPACE_LENGTH)) }),
  });
  return namespace;
}

function readAuth(bytes: Uint8Array): AuthConfig {
  const auth: { -readonly [Name in keyof AuthConfig]: AuthConfig[Name] } = { ...EMPTY_AUTH };
  eachField(bytes, {
    1: (value) => void (auth.username = text(value)),
    2: (value) => void (auth.password = value),
    3: (value) => void (auth.auth = value),
    4: (value) => void (auth.serverAddress = text(value, MAX_IMAGE_LENGTH)),
    5: (value) => void (auth.identityToken = value),
    6: (value) => void (auth.registryToken = value),
  });
  return auth;
}

function eachField(message: Uint8Array, readers: Readonly<Record<number, (bytes: Uint8Array) => void>>): void {
  try {
    const reader = new BinaryReader(message);
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      const read = type === WireType.LengthDelimited ? readers[field] : undefined;
      if (read === undefined) reader.skip(type, field);
      else read(reader.bytes());
    }
  } catch (cause) {
    throw cause instanceof CriError ? cause : new CriError('INVALID', 'not a protobuf message', { cause });
  }
}

function text(bytes: Uint8Array, maxLength = Infinity): string {
  if (bytes.length > maxLength) throw new CriError('INVALID', `a text longer than ${maxLength} bytes`);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}
