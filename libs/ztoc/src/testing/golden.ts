import { readFileSync } from 'node:fs';
import { zstdDecompressSync } from 'node:zlib';
import { TarParser } from '@soci/tar';

/** Synthetic images and what the Go tool made of them; the archive's README tells what is in it. */
const ARCHIVE = new URL('../../../index/testdata/golden.tar.zst', import.meta.url);

export interface GoldenZtoc {
  /** One of the images that have the layer. */
  readonly image: string;
  readonly algorithm: 'gzip' | 'uncompressed';
  readonly spanSize: bigint;
  readonly layer: Buffer;
  readonly digest: string;
  readonly ztoc: Buffer;
}

interface Run {
  readonly new?: Readonly<Record<string, readonly string[]>>;
}

interface SociIndex {
  readonly layers: readonly {
    readonly mediaType: string;
    readonly digest: string;
    readonly annotations: Readonly<Record<string, string>>;
  }[];
}

/** Every zTOC of every run, each once. */
export function readGoldenZtocs(): GoldenZtoc[] {
  const files = readFiles(zstdDecompressSync(readFileSync(ARCHIVE)));
  const blobs = new Map(
    [...files].filter(([name]) => name.includes('/sha256/')).map(([name, bytes]) => [`sha256:${name.slice(-64)}`, bytes]),
  );
  const blob = (digest: string): Buffer => blobs.get(digest) ?? fail(digest);
  const table = parse(files.get('golden/digests.json') ?? fail('digests.json')) as Record<string, Record<string, Run>>;
  const found = new Map<string, GoldenZtoc>();
  for (const [image, runs] of Object.entries(table)) {
    for (const index of Object.values(runs).flatMap((run) => run.new?.['soci-index'] ?? [])) {
      for (const { mediaType, digest, annotations } of (parse(blob(index)) as SociIndex).layers) {
        if (mediaType !== 'application/octet-stream') continue;
        const annotation = (name: string) => annotations[`com.amazon.soci.${name}`] ?? fail(name);
        found.set(digest, {
          image,
          algorithm: annotation('image-layer-mediaType').endsWith('gzip') ? 'gzip' : 'uncompressed',
          spanSize: BigInt(annotation('span-size')),
          layer: blob(annotation('image-layer-digest')),
          digest,
          ztoc: blob(digest),
        });
      }
    }
  }
  return [...found.values()];
}

function readFiles(archive: Buffer): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  const parser = new TarParser(({ name, offsetBytes, sizeBytes }) => {
    const path = Buffer.from(name.bytes.subarray(name.start, name.end)).toString().replace(/^\.\//, '');
    files.set(path, archive.subarray(offsetBytes, offsetBytes + sizeBytes));
  });
  parser.push(archive);
  parser.finish();
  return files;
}

function parse(json: Buffer): unknown {
  return JSON.parse(json.toString());
}

function fail(what: string): never {
  throw new Error(`not in the golden archive: ${what}`);
}
