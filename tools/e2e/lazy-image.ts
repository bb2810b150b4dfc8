import { join } from 'node:path';
import { convertInProcess } from './convert-in-process.ts';
import { sha256 } from './digest.ts';
import { makeSmallImage } from './small-image.ts';

/** An image with an index. */
export interface LazyImage {
  /** Folder of the OCI layout. */
  readonly layout: string;
  /** Files of noise, each in a layer of its own that no other image has. */
  readonly files: readonly NoiseFile[];
}

export interface NoiseFile {
  /** In the image. */
  readonly path: string;
  /** SHA-256 in hex. */
  readonly digest: string;
}

const MEBIBYTE = 1 << 20;

/** @param directory where the image and its parts go; made when it is not there */
export async function makeLazyImage(directory: string, { files = 1, sizeBytes = MEBIBYTE } = {}): Promise<LazyImage> {
  const paths = Array.from({ length: files }, (_, index) => `data/noise-${index}`);
  const plain = await makeSmallImage(
    directory,
    paths.map((path) => [{ path, sizeBytes }]),
  );
  const layout = await convertInProcess(plain, join(directory, 'converted'));
  const digests = await Promise.all(paths.map((path, index) => sha256(join(directory, `layer-${index}`, path))));
  return { layout, files: paths.map((path, index) => ({ path, digest: digests[index] ?? '' })) };
}

/** A file of an image that is known to have it. */
export function fileOf({ files }: LazyImage, index = 0): NoiseFile {
  const file = files[index];
  if (file === undefined) throw new Error(`the image has no file ${index}`);
  return file;
}
