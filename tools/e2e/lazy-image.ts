import { join } from 'node:path';
import { sha256 } from './digest.ts';
import { makeSmallImage } from './small-image.ts';
import { convert } from './stack.ts';

/** An image with an index that shares no layer of noise with another. */
export interface LazyImage {
  /** Folder of the OCI layout. */
  readonly layout: string;
  /** Path in the image of a file of noise. */
  readonly file: string;
  /** SHA-256 of that file, in hex. */
  readonly digest: string;
}

const FILE = 'data/noise';

/** @param directory where it and its parts go; made when it is not there */
export async function makeLazyImage(directory: string, sizeBytes = 1 << 20): Promise<LazyImage> {
  const plain = await makeSmallImage(directory, [[{ path: FILE, sizeBytes }]]);
  const layout = await convert(plain, join(directory, 'converted'), ['--min-layer-size', '0']);
  return { layout, file: FILE, digest: await sha256(join(directory, 'layer-0', FILE)) };
}
