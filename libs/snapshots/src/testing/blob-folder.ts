import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseManifest } from '@soci/image';
import { parseSociIndex } from '@soci/index';
import type { BlobRequest } from '@soci/layer';
import type { ImageSource } from '../image-planner.ts';

type ResolveRequest = Parameters<ImageSource['resolveImage']>[0];
type ArtifactRequest = Parameters<ImageSource['readArtifact']>[0];

class SourceError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Serves one image from a folder of blobs, and can be switched off as a registry can. */
export class BlobFolder implements ImageSource {
  readonly manifestDigest: string;
  readonly layers: readonly string[];
  /** What was asked for, e.g. `resolve`, `artifact sha256:…`, `read sha256:…`. */
  readonly asked: string[] = [];
  isDown = false;
  hasIndex = true;
  readonly folder: string;
  readonly #indexDigest: string;

  private constructor(folder: string, manifestDigest: string, indexDigest: string, layers: readonly string[]) {
    this.folder = folder;
    this.manifestDigest = manifestDigest;
    this.#indexDigest = indexDigest;
    this.layers = layers;
  }

  static async open(name: string): Promise<BlobFolder> {
    const folder = join(import.meta.dirname, '..', '..', 'testdata', 'images', name);
    const { manifestDigest, indexDigest } = JSON.parse(await readFile(join(folder, 'image.json'), 'utf8')) as Record<
      'manifestDigest' | 'indexDigest',
      string
    >;
    const { layers } = parseManifest(await readFile(blobPath(folder, manifestDigest)));
    return new BlobFolder(
      folder,
      manifestDigest,
      indexDigest,
      layers.map(({ digest }) => digest),
    );
  }

  async resolveImage({ manifestDigest }: ResolveRequest): ReturnType<ImageSource['resolveImage']> {
    this.#ask('resolve');
    if (!this.hasIndex) throw new SourceError('NO_INDEX', 'the manifest names no index');
    return { manifest: parseManifest(await this.#blob(manifestDigest)), index: parseSociIndex(await this.#blob(this.#indexDigest)) };
  }

  async readArtifact({ descriptor: { digest } }: ArtifactRequest): Promise<Uint8Array<ArrayBuffer>> {
    this.#ask(`artifact ${digest}`);
    return new Uint8Array(await this.#blob(digest));
  }

  async *read({ digest, offsetBytes, lengthBytes }: BlobRequest): AsyncGenerator<Uint8Array> {
    this.#ask(`read ${digest}`);
    yield new Uint8Array((await this.#blob(digest)).subarray(offsetBytes, offsetBytes + lengthBytes));
  }

  #ask(what: string): void {
    this.asked.push(what);
    if (this.isDown) throw new SourceError('UNREACHABLE', 'connect 127.0.0.1:5000: refused');
  }

  #blob(digest: string): Promise<Buffer> {
    return readFile(blobPath(this.folder, digest));
  }
}

function blobPath(folder: string, digest: string): string {
  return join(folder, digest.slice('sha256:'.length));
}
