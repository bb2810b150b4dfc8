import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseIndex, parseManifest, type Descriptor } from '@soci/image';

/** A layout's image: what is needed to make another one of its layers. */
export interface LayoutImage {
  readonly layers: readonly LayoutLayer[];
}

export interface LayoutLayer {
  readonly descriptor: Descriptor;
  /** The blob's file. */
  readonly path: string;
  /** Digest of the uncompressed layer. */
  readonly diffId: string;
}

/** Reads the first image of an OCI layout made by tools/image. */
export async function readLayout(layout: string): Promise<LayoutImage> {
  const path = (digest: string): string => join(layout, 'blobs', 'sha256', digest.slice('sha256:'.length));
  const [entry] = parseIndex(await readFile(join(layout, 'index.json'))).manifests;
  if (entry === undefined) throw new Error(`OCI layout ${layout}: no image`);
  const { config, layers } = parseManifest(await readFile(path(entry.digest)));
  const { rootfs } = JSON.parse(await readFile(path(config.digest), 'utf8')) as {
    readonly rootfs: { readonly diff_ids: readonly string[] };
  };
  return {
    layers: layers.map((descriptor, index) => ({ descriptor, path: path(descriptor.digest), diffId: rootfs.diff_ids[index] ?? '' })),
  };
}
