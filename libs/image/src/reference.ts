import { isDigest, parseDigest } from './digest.ts';
import { ImageError } from './errors.ts';

const DEFAULT_HOST = 'docker.io';
const LEGACY_DEFAULT_HOST = 'index.docker.io';
const OFFICIAL_PREFIX = 'library/';
const DEFAULT_TAG = 'latest';

/** Longer than any text the grammar below lets through with a host name of legal length; bounds the regular expressions' work. */
const MAX_REFERENCE_LENGTH = 1024;
const MAX_REPOSITORY_LENGTH = 255;

const hostLabel = '(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)';
const host = String.raw`(?:${hostLabel}(?:\.${hostLabel})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?`;
const pathPart = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const tag = String.raw`[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`;
const digest = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';
const REFERENCE = new RegExp(`^(${host})/(${pathPart}(?:/${pathPart})*)(?::(${tag}))?(?:@(${digest}))?$`);
const IDENTIFIER = /^[a-f0-9]{64}$/;

/** Where an image is: registry, repository, and a tag or a digest or both. */
export class ImageReference {
  /** As written, except that Docker Hub is always `docker.io`: `registry.example.com:5000`. Its upper-case letters, if any, are kept. */
  readonly host: string;
  /** `library/alpine`, without host. */
  readonly repository: string;
  declare readonly tag?: string;
  declare readonly digest?: string;

  constructor(parts: { readonly host: string; readonly repository: string; readonly tag?: string; readonly digest?: string }) {
    this.host = parts.host;
    this.repository = parts.repository;
    if (parts.tag !== undefined) this.tag = parts.tag;
    if (parts.digest !== undefined) this.digest = parts.digest;
  }

  /** Host and repository: `docker.io/library/alpine`. */
  get name(): string {
    return `${this.host}/${this.repository}`;
  }

  /** The full form: `docker.io/library/alpine:3.20@sha256:...`. */
  toString(): string {
    return this.name + this.#suffix();
  }

  /** The short form that people write: `alpine:3.20`. */
  familiar(): string {
    if (this.host !== DEFAULT_HOST) return this.toString();
    const short = this.repository.startsWith(OFFICIAL_PREFIX) ? this.repository.slice(OFFICIAL_PREFIX.length) : this.repository;
    return (short.includes('/') ? this.repository : short) + this.#suffix();
  }

  /** The name under which containerd's CRI keeps the image: as `toString`, but without the tag where there is a digest. */
  canonical(): string {
    return this.digest === undefined ? this.toString() : `${this.name}@${this.digest}`;
  }

  #suffix(): string {
    return (this.tag === undefined ? '' : `:${this.tag}`) + (this.digest === undefined ? '' : `@${this.digest}`);
  }
}

/**
 * Parses an image name as people write it: `alpine` is `docker.io/library/alpine:latest`. A tag beside a digest is kept.
 *
 * @throws {ImageError} `REFERENCE_INVALID`
 * @see https://github.com/distribution/reference/blob/main/normalize.go
 */
export function parseReference(text: string): ImageReference {
  if (text === '') throw invalid(text, 'repository name must have at least one component');
  if (text.length > MAX_REFERENCE_LENGTH) throw invalid(text, `longer than ${MAX_REFERENCE_LENGTH} characters`);
  if (IDENTIFIER.test(text)) throw invalid(text, 'cannot specify 64-byte hexadecimal strings');
  const [hostPart, rest] = splitHost(text);
  const [path = ''] = rest.split(':', 1);
  if (path.toLowerCase() !== path) throw invalid(text, 'repository name must be lowercase');
  const match = REFERENCE.exec(`${hostPart}/${rest}`);
  if (match === null) throw invalid(text, 'invalid reference format');
  const [, parsedHost = '', repository = '', parsedTag, parsedDigest] = match;
  if (repository.length > MAX_REPOSITORY_LENGTH) {
    throw invalid(text, `repository name must not be more than ${MAX_REPOSITORY_LENGTH} characters`);
  }
  if (parsedDigest !== undefined) parseDigest(parsedDigest);
  const tagOrDefault = parsedTag ?? (parsedDigest === undefined ? DEFAULT_TAG : undefined);
  return new ImageReference({
    host: parsedHost,
    repository,
    ...(tagOrDefault === undefined ? {} : { tag: tagOrDefault }),
    ...(parsedDigest === undefined ? {} : { digest: parsedDigest }),
  });
}

/** What containerd calls a reference: a locator, and behind the first `:` or `@` of its path an object (a tag, `tag@digest` or `@digest`; empty when there is none). */
export interface ContainerdReference {
  readonly locator: string;
  readonly object: string;
}

/**
 * Parses a name by containerd's own, more generous grammar: a host is required, nothing is normalised.
 *
 * @throws {ImageError} `REFERENCE_INVALID`
 * @see https://github.com/containerd/containerd/blob/main/pkg/reference/reference.go
 */
export function parseContainerdReference(text: string): ContainerdReference {
  if (text.length > MAX_REFERENCE_LENGTH) throw invalid(text, `longer than ${MAX_REFERENCE_LENGTH} characters`);
  if (text.includes('://')) throw invalid(text, 'invalid reference');
  const slash = text.search(/[/?#]/);
  const authority = slash < 0 ? text : text.slice(0, slash);
  if (authority === '') throw invalid(text, 'hostname required');
  // Go's URL parser stands behind this: user info is not part of the host, a port is digits.
  const hostname = authority.slice(authority.lastIndexOf('@') + 1);
  if (!/^(?:\[[0-9a-fA-F:.]+\]|[^\s:"<>[\]\\^`{|}%]*)(?::[0-9]*)?$/.test(hostname)) throw invalid(text, 'invalid reference');
  if (hostname === '') throw invalid(text, 'hostname required');
  const [path = ''] = (slash < 0 ? '' : text.slice(slash)).split(/[?#]/, 1);
  if (/[\u0000-\u001f\u007f]/.test(text) || /%(?![0-9a-fA-F]{2})/.test(path)) throw invalid(text, 'invalid reference');
  const decoded = unescape(path);
  const split = decoded.search(/[:@]/);
  if (split < 0) return { locator: join(hostname, decoded), object: '' };
  const object = decoded.slice(split);
  return { locator: join(hostname, decoded.slice(0, split)), object: object.startsWith(':') ? object.slice(1) : object };
}

/** Whether the text names an image by digest: `...@sha256:...` with a digest that can be checked. */
export function hasDigest(text: string): boolean {
  const at = text.lastIndexOf('@');
  return at > 0 && isDigest(text.slice(at + 1));
}

function splitHost(text: string): [string, string] {
  const slash = text.indexOf('/');
  if (slash < 0) return [DEFAULT_HOST, OFFICIAL_PREFIX + text];
  const first = text.slice(0, slash);
  const rest = text.slice(slash + 1);
  const isHost = first === 'localhost' || /[.:]/.test(first) || first.toLowerCase() !== first;
  if (!isHost) return [DEFAULT_HOST, text];
  if (first !== DEFAULT_HOST && first !== LEGACY_DEFAULT_HOST) return [first, rest];
  return [DEFAULT_HOST, rest.includes('/') ? rest : OFFICIAL_PREFIX + rest];
}

function unescape(path: string): string {
  return path.replace(/(?:%[0-9a-fA-F]{2})+/g, (escapes) => Buffer.from(escapes.replaceAll('%', ''), 'hex').toString());
}

function join(hostname: string, path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return [hostname, ...parts].join('/');
}

function invalid(text: string, why: string): ImageError {
  return new ImageError('REFERENCE_INVALID', `image reference ${JSON.stringify(text.slice(0, 200))}: ${why}`);
}
