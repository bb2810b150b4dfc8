import { createHash } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { BlobInfo, BlobReader, ContentStore, WriteOptions } from '@soci/content';
import { type Descriptor, parseDigest } from '@soci/image';
import { IndexError } from './errors.ts';
import { blobName, type LayoutFile, type LayoutFiles, readLayoutFile, streamFile } from './layout-source.ts';

/**
 * Reads a layout that is not to be touched, and writes what is new into a folder of its own, in the shape of a layout. Its errors have the codes of `ContentError`.
 * That class itself would load containerd's client, and a conversion without containerd starts a third sooner without.
 */
export class LayoutStore implements ContentStore {
  readonly kind = 'soci';
  readonly #original: LayoutFiles;
  readonly #folder: string;
  readonly #written = new Map<string, LayoutFile>();

  /** @param folder exists, and is the caller's to remove */
  constructor(original: LayoutFiles, folder: string) {
    this.#original = original;
    this.#folder = folder;
  }

  /** What was written, by name in the layout. */
  get written(): LayoutFiles {
    return this.#written;
  }

  /** Where a blob's bytes are; undefined when neither the layout nor what was written holds it. */
  find(digest: string): LayoutFile | undefined {
    const name = blobName(digest);
    return this.#written.get(name) ?? this.#original.get(name);
  }

  stat(digest: string): Promise<BlobInfo | undefined> {
    const file = this.find(digest);
    return Promise.resolve(file && { digest, sizeBytes: file.sizeBytes, labels: {} });
  }

  open(digest: string): Promise<BlobReader> {
    const file = this.#need(digest);
    return Promise.resolve({
      sizeBytes: file.sizeBytes,
      ...(file.whole ? { path: file.path } : {}),
      stream: (offsetBytes: number, signal: AbortSignal) => streamFile(file, offsetBytes, signal),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  }

  async read(digest: string, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    const file = this.#need(digest);
    if (file.sizeBytes > maxBytes) throw new IndexError('TOO_LARGE', `${digest}: ${file.sizeBytes} bytes, more than ${maxBytes}`);
    const bytes = await readLayoutFile(file, maxBytes, signal);
    checkDigest(digest, bytes);
    return bytes;
  }

  async write(
    descriptor: Descriptor,
    content: Uint8Array | AsyncIterable<Uint8Array>,
    _options: WriteOptions,
    signal: AbortSignal,
  ): Promise<void> {
    const { digest } = descriptor;
    if (this.find(digest) !== undefined) return;
    const bytes = content instanceof Uint8Array ? content : await collect(content, descriptor);
    if (bytes.length !== descriptor.size) {
      throw new IndexError('SIZE_MISMATCH', `${digest}: ${bytes.length} bytes, not ${descriptor.size}`);
    }
    checkDigest(digest, bytes);
    const path = join(this.#folder, blobName(digest));
    await mkdir(dirname(path), { recursive: true });
    // Under another name first: the copy of the original layout may be going on in the same folder.
    await writeFile(`${path}.new`, bytes, { signal });
    await rename(`${path}.new`, path);
    this.#written.set(blobName(digest), { path, offsetBytes: 0, sizeBytes: bytes.length, whole: true });
  }

  label(): Promise<void> {
    return Promise.resolve();
  }

  async delete(digest: string): Promise<void> {
    const file = this.#written.get(blobName(digest));
    if (file === undefined) return;
    this.#written.delete(blobName(digest));
    await rm(file.path, { force: true });
  }

  #need(digest: string): LayoutFile {
    const file = this.find(digest);
    if (file === undefined) throw new IndexError('NOT_FOUND', `${digest}: not in the layout`);
    return file;
  }
}

function checkDigest(digest: string, bytes: Uint8Array): void {
  const { algorithm, hex } = parseDigest(digest);
  const got = createHash(algorithm).update(bytes).digest('hex');
  if (got !== hex) throw new IndexError('DIGEST_MISMATCH', `${digest}: the content is ${algorithm}:${got}`);
}

async function collect(content: AsyncIterable<Uint8Array>, { digest, size }: Descriptor): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of content) {
    length += chunk.length;
    if (length > size) throw new IndexError('SIZE_MISMATCH', `${digest}: more than ${size} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
