import { readFile } from 'node:fs/promises';
import { zstdDecompressSync } from 'node:zlib';
import { IndexError, parseSociIndex, type SociIndex } from '@soci/index';
import { TarParser } from '@soci/tar';

/** Synthetic images and what the Go tool made of them. */
const ARCHIVE = new URL('../../../../libs/index/testdata/golden.tar.zst', import.meta.url);

export interface Golden {
  /** Manifests, indexes and configurations of images, and SOCI indexes. */
  readonly documents: readonly Uint8Array[];
  /** Each zTOC with its layer. */
  readonly ztocs: readonly { readonly ztoc: Uint8Array; readonly layer: Uint8Array; readonly kind: 'gzip' | 'uncompressed' }[];
  /** Prefetch artifacts. */
  readonly prefetch: readonly Uint8Array[];
}

const OPENING_BRACE = 0x7b;

/** What the archive holds, by kind. */
export async function readGolden(): Promise<Golden> {
  const blobs = readBlobs(zstdDecompressSync(await readFile(ARCHIVE)));
  const documents = [...blobs.values()].filter((bytes) => bytes[0] === OPENING_BRACE);
  const ztocs = new Map<string, Golden['ztocs'][number]>();
  const prefetch = new Map<string, Uint8Array>();
  for (const index of documents.flatMap(toIndex)) {
    for (const { descriptor, layerDigest, layerMediaType } of index.ztocs.values()) {
      const [ztoc, layer] = [blobs.get(descriptor.digest), blobs.get(layerDigest)];
      const kind = layerMediaType?.endsWith('gzip') === true ? 'gzip' : 'uncompressed';
      if (ztoc !== undefined && layer !== undefined) ztocs.set(descriptor.digest, { ztoc, layer, kind });
    }
    for (const { digest } of index.prefetch.values()) {
      const bytes = blobs.get(digest);
      if (bytes !== undefined) prefetch.set(digest, bytes);
    }
  }
  if (ztocs.size === 0 || prefetch.size === 0) throw new Error('no golden zTOCs');
  return { documents, ztocs: [...ztocs.values()], prefetch: [...prefetch.values()] };
}

function toIndex(document: Uint8Array): readonly SociIndex[] {
  try {
    return [parseSociIndex(document)];
  } catch (error) {
    if (error instanceof IndexError) return [];
    throw error;
  }
}

function readBlobs(archive: Buffer): Map<string, Uint8Array> {
  const blobs = new Map<string, Uint8Array>();
  const parser = new TarParser(({ name, offsetBytes, sizeBytes }) => {
    const [, hex] = /\/sha256\/([0-9a-f]{64})$/.exec(Buffer.from(name.bytes.subarray(name.start, name.end)).toString()) ?? [];
    if (hex !== undefined) blobs.set(`sha256:${hex}`, archive.subarray(offsetBytes, offsetBytes + sizeBytes));
  });
  parser.push(archive);
  parser.finish();
  return blobs;
}
