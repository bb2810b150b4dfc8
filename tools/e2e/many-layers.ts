import { createCipheriv, createHash } from 'node:crypto';
import { mkdir, mkdtemp, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { isNotFound } from '@soci/errors';
import { parseReference } from '@soci/image';
import { Registry } from '@soci/testing';
import type { WrittenLayer } from '../image/layers.ts';
import { blobFolder, writeLayout } from '../image/layout.ts';
import { pushLayout } from '../image/push.ts';
import { convertInProcess } from './convert-in-process.ts';
import { packTar } from './long/random-tar.ts';
import { LOGIN, ROOT } from './stack.ts';

/** How many of what: every layer is another one, and has its files in folders of twenty. */
export interface ManyLayers {
  readonly images: number;
  readonly layers: number;
  /** In each layer. */
  readonly files: number;
}

/** Folders of a layer. */
export const FOLDERS = 20;
const MIN_FILE_BYTES = 100;
const MAX_FILE_BYTES = 3_000;
/** Images under way at the same time: most of each is waiting for the registry. */
const WORKERS = 4;
const MTIME = 1_700_000_000;
/** As the files come from a key and not from chance, a registry that was filled once is filled for good. */
const CACHE = join(ROOT, 'tmp', 'many-layers');

const compress = promisify(gzip);

/**
 * A private registry with images of many small layers, each with an index. What is in it is made once and kept; the registry itself is a new one.
 * @param directory of the registry, an empty one
 */
export async function startManyLayersRegistry(many: ManyLayers, directory: string): Promise<Registry> {
  const data = await filledRegistry(many);
  await symlink(data, join(directory, 'data'));
  return await Registry.start({ directory, login: LOGIN });
}

/** Names of the images in the registry. */
export function manyLayersNames({ images }: ManyLayers): readonly string[] {
  return Array.from({ length: images }, (_, image) => nameOf(image));
}

/** Path of a file in the root of an image. */
export function manyLayersFile(layer: number, file: number): string {
  return `l${layer}/d${file % FOLDERS}/file-${file}`;
}

function nameOf(image: number): string {
  return `many/image-${image}:1`;
}

/** @returns the folder that holds what a registry stores */
async function filledRegistry(many: ManyLayers): Promise<string> {
  const kept = join(CACHE, `${many.images}x${many.layers}x${many.files}`);
  if (await isThere(kept)) return kept;
  await mkdir(CACHE, { recursive: true });
  const scratch = await mkdtemp(join(CACHE, 'new-'));
  try {
    await using registry = await Registry.start({ directory: scratch, login: LOGIN });
    const images = Array.from({ length: many.images }, (_, image) => image).values();
    const worker = async (): Promise<void> => {
      for (const image of images) {
        const folder = join(scratch, `image-${image}`);
        const plain = await writeImage(many, image, join(folder, 'plain'));
        const converted = await convertInProcess(plain, join(folder, 'converted'));
        await pushLayout(converted, parseReference(`${registry.host}/${nameOf(image)}`), LOGIN);
        await rm(folder, { recursive: true });
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, worker));
    await registry.stop();
    await rename(join(scratch, 'data'), kept);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  return kept;
}

async function writeImage({ layers, files }: ManyLayers, image: number, layout: string): Promise<string> {
  const blobs = await blobFolder(layout);
  const written: WrittenLayer[] = [];
  for (let layer = 0; layer < layers; layer++) written.push(await writeLayer(image, layer, files, blobs));
  await writeLayout(layout, written, {});
  return layout;
}

async function writeLayer(image: number, layer: number, files: number, blobs: string): Promise<WrittenLayer> {
  const noise = noiseOf(`${image}/${layer}`, files * MAX_FILE_BYTES);
  const members = Array.from({ length: files }, (_, file) => {
    const from = file * MAX_FILE_BYTES;
    const sizeBytes = MIN_FILE_BYTES + (noise.readUInt32LE(from) % (MAX_FILE_BYTES - MIN_FILE_BYTES));
    return { name: manyLayersFile(layer, file), type: '0', mtime: MTIME, data: noise.subarray(from, from + sizeBytes) };
  });
  const tar = packTar(members);
  const blob = await compress(tar, { level: 1 });
  const digest = sha256(blob);
  await writeFile(join(blobs, digest), blob);
  return {
    descriptor: { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: `sha256:${digest}`, size: blob.length },
    diffId: `sha256:${sha256(tar)}`,
  };
}

/** Bytes that do not compress, the same for the same name. */
function noiseOf(name: string, sizeBytes: number): Buffer {
  const key = createHash('sha256').update(name).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(sizeBytes));
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}
