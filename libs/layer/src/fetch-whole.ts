import { createHash, type Hash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { PassThrough, type Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import type { BlobSource } from './blob-source.ts';
import type { LayerSource } from './layer-source.ts';
import { LayerError } from './errors.ts';

export interface WholeLayer {
  /** Digest of the blob. */
  readonly digest: string;
  readonly sizeBytes: number;
  /** Digest of the uncompressed tar, where it is known. */
  readonly diffId?: string;
}

/** What an inflated layer may have; far above any that is fetched whole. */
const MAX_TAR_BYTES = 64 * 2 ** 30;
const CHUNK_BYTES = 256 << 10;
const GZIP = [0x1f, 0x8b];
const ZSTD = [0x28, 0xb5, 0x2f, 0xfd];

/**
 * Fetches a layer from its first byte to its last and leaves its uncompressed tar in a file: gzip of one or more members, zstd, or plain, by
 * its first bytes.
 * @throws {LayerError} `DIGEST_MISMATCH`, `SHORT_ANSWER`, `TOO_LARGE`, `NOT_SERVABLE` when it cannot be inflated; and what the source throws. The file is gone then
 */
export async function fetchWhole(
  { digest, sizeBytes, diffId }: WholeLayer,
  image: LayerSource,
  source: BlobSource,
  tarPath: string,
  signal: AbortSignal,
): Promise<void> {
  const blobHash = createHash('sha256');
  const tarHash = createHash('sha256');
  const { reference, namespaces } = image;
  const pieces = source.read({ reference, namespaces, digest, offsetBytes: 0, lengthBytes: sizeBytes, priority: 'demand' }, signal);
  const blob = new Blob(hashed(pieces, blobHash, sizeBytes, digest));
  try {
    const inflater = inflaterFor(await blob.firstBytes());
    await pipeline(
      blob.rest(),
      inflater,
      (tar: AsyncIterable<Uint8Array>) => hashed(tar, tarHash, MAX_TAR_BYTES, digest),
      createWriteStream(tarPath, { mode: 0o600 }),
      {
        signal,
      },
    );
    check('digest', digest, blobHash, digest);
    if (diffId !== undefined) check('uncompressed digest', diffId, tarHash, digest);
  } catch (cause) {
    await rm(tarPath, { force: true });
    signal.throwIfAborted();
    const isOfZlib = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' && /^(Z_|ERR_ZSTD|ZSTD_)/.test(cause.code);
    throw isOfZlib ? new LayerError('NOT_SERVABLE', `layer ${digest}: cannot be inflated`, { cause }) : cause;
  }
}

/** A stream whose first bytes can be looked at. */
class Blob {
  readonly #iterator: AsyncIterator<Uint8Array>;
  readonly #first: Uint8Array[] = [];

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.#iterator = pieces[Symbol.asyncIterator]();
  }

  async firstBytes(): Promise<Uint8Array> {
    for (let length = 0; length < ZSTD.length; ) {
      const next = await this.#iterator.next();
      if (next.done === true) break;
      this.#first.push(next.value);
      length += next.value.length;
    }
    return Buffer.concat(this.#first.map((piece) => piece.subarray(0, ZSTD.length)));
  }

  async *rest(): AsyncGenerator<Uint8Array> {
    yield* this.#first;
    yield* { [Symbol.asyncIterator]: () => this.#iterator };
  }
}

async function* hashed(pieces: AsyncIterable<Uint8Array>, hash: Hash, maxBytes: number, digest: string): AsyncGenerator<Uint8Array> {
  let length = 0;
  for await (const piece of pieces) {
    length += piece.length;
    if (length > maxBytes) throw new LayerError('TOO_LARGE', `layer ${digest}: more than ${maxBytes} bytes`);
    hash.update(piece);
    yield piece;
  }
}

function inflaterFor(first: Uint8Array): Duplex {
  if (GZIP.every((byte, i) => first[i] === byte)) return createGunzip({ chunkSize: CHUNK_BYTES });
  if (ZSTD.every((byte, i) => first[i] === byte)) return createZstdDecompress({ chunkSize: CHUNK_BYTES });
  return new PassThrough();
}

function check(what: string, wanted: string, hash: Hash, layerDigest: string): void {
  const found = `sha256:${hash.digest('hex')}`;
  if (found !== wanted) throw new LayerError('DIGEST_MISMATCH', `layer ${layerDigest}: its ${what} is ${found}`);
}
