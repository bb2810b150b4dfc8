import { createHash, randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { blobFolder, writeLayout } from '../image/layout.ts';
import { writeLayer, type WrittenLayer } from '../image/layers.ts';
import { makeBase } from './small-image.ts';
import { convert } from './stack.ts';

/** An image to read from: each of its ways of reading has a layer of its own. */
export interface ReadImage {
  /** Folder of the OCI layout, with an index. */
  readonly layout: string;
  readonly ways: readonly WayOfReading[];
}

export interface WayOfReading {
  readonly way: 'read' | 'mmap' | 'files';
  /** A file, or a folder of files, in the image. */
  readonly path: string;
  /** SHA-256 in hex: of the file, or of all files in the order of their names. */
  readonly digest: string;
}

const BLOCK_BYTES = 64 << 10;
/** The rest of a block is its number again and again: it compresses, and shows where it belongs. */
const NOISE_BYTES = 8 << 10;

/** @param sizeBytes of each layer, all alike @param files into which one of them is cut */
export async function makeReadImage(
  directory: string,
  { sizeBytes, files }: { readonly sizeBytes: number; readonly files: number },
): Promise<ReadImage> {
  const plain = join(directory, 'plain');
  const blobs = await blobFolder(plain);
  const base = await makeBase(join(directory, 'base'));
  const layers: WrittenLayer[] = [await writeLayer({ name: 'base', root: base, members: ['.'] }, blobs, () => undefined)];
  const ways: WayOfReading[] = [];
  for (const way of ['read', 'mmap', 'files'] as const) {
    const root = join(directory, way);
    await mkdir(join(root, 'data'), { recursive: true });
    const path = join('data', way);
    const digest = way === 'files' ? await writeFiles(join(root, path), sizeBytes, files) : await writeOne(join(root, path), sizeBytes);
    layers.push(await writeLayer({ name: way, root, members: ['--owner=0', '--group=0', '.'] }, blobs, () => undefined));
    ways.push({ way, path: `/${path}`, digest });
  }
  await writeLayout(plain, layers, {});
  return { layout: await convert(plain, join(directory, 'converted'), ['--min-layer-size', '0']), ways };
}

async function writeOne(path: string, sizeBytes: number): Promise<string> {
  const hash = createHash('sha256');
  const out = createWriteStream(path);
  for (let at = 0; at < sizeBytes; at += BLOCK_BYTES) {
    const block = makeBlock(at / BLOCK_BYTES).subarray(0, sizeBytes - at);
    hash.update(block);
    if (!out.write(block)) await once(out, 'drain');
  }
  out.end();
  await finished(out);
  return hash.digest('hex');
}

async function writeFiles(folder: string, sizeBytes: number, files: number): Promise<string> {
  await mkdir(folder);
  const hash = createHash('sha256');
  const eachBytes = Math.floor(sizeBytes / files);
  for (let file = 0; file < files; file++) {
    const bytes = makeBlock(file).subarray(0, eachBytes);
    hash.update(bytes);
    await writeFile(join(folder, String(file).padStart(6, '0')), bytes);
  }
  return hash.digest('hex');
}

function makeBlock(number: number): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES, String(number).padStart(16, '.'));
  return randomFillSync(block, 0, NOISE_BYTES);
}
