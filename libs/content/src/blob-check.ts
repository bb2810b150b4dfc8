import { createHash, type Hash } from 'node:crypto';
import { parseDigest } from '@soci/image';
import { ContentError } from './errors.ts';

/** Follows bytes on their way and says at the end whether they are the blob that was meant. */
export class BlobCheck {
  readonly #digest: string;
  readonly #hash: Hash;
  readonly #maxBytes: number;
  #bytes = 0;

  /** @param maxBytes more than this is an error at once: an endless stream ends here */
  constructor(digest: string, maxBytes: number) {
    this.#digest = digest;
    this.#hash = createHash(parseDigest(digest).algorithm);
    this.#maxBytes = maxBytes;
  }

  /** @throws {ContentError} `SIZE_MISMATCH` when more came than may */
  update(chunk: Uint8Array): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#maxBytes) throw new ContentError('SIZE_MISMATCH', `${this.#digest}: longer than ${this.#maxBytes} bytes`);
    this.#hash.update(chunk);
  }

  /** @throws {ContentError} `SIZE_MISMATCH`, `DIGEST_MISMATCH` */
  finish(sizeBytes: number): void {
    if (this.#bytes !== sizeBytes) throw new ContentError('SIZE_MISMATCH', `${this.#digest}: ${this.#bytes} bytes instead of ${sizeBytes}`);
    const { algorithm } = parseDigest(this.#digest);
    const found = `${algorithm}:${this.#hash.digest('hex')}`;
    if (found !== this.#digest) throw new ContentError('DIGEST_MISMATCH', `${this.#digest}: the bytes have digest ${found}`);
  }
}

/** Algorithm and hex digits. @throws {ContentError} `DIGEST_INVALID` */
export function splitDigest(digest: string): { algorithm: string; hex: string } {
  try {
    return parseDigest(digest);
  } catch (cause) {
    throw new ContentError('DIGEST_INVALID', 'blob', { cause });
  }
}
