import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseManifest } from '@soci/image';
import { parseSociIndex } from '@soci/index';
import type { BlobRequest, BlobSourceChange } from '@soci/layer';
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
  /** Code of the error in place of every answer, for one reference or all. */
  fault: (reference: string) => string | undefined = () => undefined;
  /** Kubernetes namespaces that pulled any image. */
  namespaces: readonly string[] = [];
  /** References and namespaces of reads of layers. */
  readonly reads: { readonly reference: string; readonly namespaces: readonly string[] }[] = [];
  readonly folder: string;
  readonly #indexDigest: string;
  readonly #listeners = new Set<(change: BlobSourceChange) => void>();

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

  async resolveImage({ reference, manifestDigest }: ResolveRequest): ReturnType<ImageSource['resolveImage']> {
    this.#ask('resolve', reference);
    if (!this.hasIndex) throw new SourceError('NO_INDEX', 'the manifest names no index');
    const [manifest, index] = [await this.#blob(manifestDigest), await this.#blob(this.#indexDigest)];
    return { manifest: parseManifest(manifest), index: parseSociIndex(index), namespaces: this.namespaces };
  }

  async readArtifact({ reference, descriptor: { digest } }: ArtifactRequest): Promise<Uint8Array<ArrayBuffer>> {
    this.#ask(`artifact ${digest}`, reference);
    return new Uint8Array(await this.#blob(digest));
  }

  async *read({ reference, namespaces = [], digest, offsetBytes, lengthBytes }: BlobRequest): AsyncGenerator<Uint8Array> {
    this.reads.push({ reference, namespaces });
    this.#ask(`read ${digest}`, reference);
    yield new Uint8Array((await this.#blob(digest)).subarray(offsetBytes, offsetBytes + lengthBytes));
  }

  findNamespaces(references: readonly string[]): Promise<readonly (readonly string[])[]> {
    return Promise.resolve(references.map(() => this.namespaces));
  }

  onChange(listener: (change: BlobSourceChange) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  tell(change: BlobSourceChange = {}): void {
    for (const listener of this.#listeners) listener(change);
  }

  #ask(what: string, reference: string): void {
    this.asked.push(what);
    const code = this.fault(reference);
    if (code !== undefined) throw new SourceError(code, `${reference}: ${code}`);
    if (this.isDown) throw new SourceError('UNREACHABLE', 'connect 127.0.0.1:5000: refused');
  }

  #blob(digest: string): Promise<Buffer> {
    return readFile(blobPath(this.folder, digest));
  }
}

function blobPath(folder: string, digest: string): string {
  return join(folder, digest.slice('sha256:'.length));
}
