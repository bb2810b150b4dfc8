import { createHash } from 'node:crypto';
import { ImageError } from './errors.ts';

export type DigestAlgorithm = 'sha256' | 'sha384' | 'sha512';

export interface Digest {
  readonly algorithm: DigestAlgorithm;
  /** Lower case, of exactly the algorithm's length: safe as a file name. */
  readonly hex: string;
}

const HEX_LENGTH: ReadonlyMap<string, number> = new Map([
  ['sha256', 64],
  ['sha384', 96],
  ['sha512', 128],
]);
const LOWER_HEX = /^[0-9a-f]+$/;
const DIGEST_SHAPE = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;
const MAX_SHOWN = 100;

/** Whether the text is a digest of an algorithm that we can check: `sha256:` and 64 lower-case hex digits, or sha384 or sha512 likewise. */
export function isDigest(text: string): boolean {
  const colon = text.indexOf(':');
  return HEX_LENGTH.get(text.slice(0, colon)) === text.length - colon - 1 && LOWER_HEX.test(text.slice(colon + 1));
}

/**
 * Splits a digest.
 *
 * @throws {ImageError} `DIGEST_INVALID`, with the wording of the Go tool, which scripts match
 * @see https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
 */
export function parseDigest(text: string): Digest {
  if (!isDigest(text)) throw new ImageError('DIGEST_INVALID', `${whyInvalid(text)}: ${JSON.stringify(text.slice(0, MAX_SHOWN))}`);
  const colon = text.indexOf(':');
  return { algorithm: text.slice(0, colon) as DigestAlgorithm, hex: text.slice(colon + 1) };
}

/** `sha256:` and the hex digits of these bytes' hash. */
export function sha256Digest(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function whyInvalid(text: string): string {
  const colon = text.indexOf(':');
  const length = HEX_LENGTH.get(text.slice(0, Math.max(colon, 0)));
  if (length !== undefined && colon + 1 < text.length) {
    return text.length - colon - 1 === length ? 'invalid checksum digest format' : 'invalid checksum digest length';
  }
  return DIGEST_SHAPE.test(text) && length === undefined ? 'unsupported digest algorithm' : 'invalid checksum digest format';
}
