import { readFile } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { LayerError, type LayerNames, type LayerStore } from '@soci/layer';
import { LABEL } from './labels.ts';
import type { Labels } from './snapshot.ts';

/** The label by which a restart finds the names image of a snapshot: `<layer key>/<implied key>`. */
export function namesLabel({ layerKey, impliedKey }: LayerNames): Labels {
  return { [LABEL.names]: `${layerKey}/${impliedKey}` };
}

export interface KnownNames extends LayerNames {
  /** CRC-32 of the image. */
  readonly checksum: number;
}

/** The names image of a snapshot with these labels; undefined when it has none, or the store does not know it any more. */
export function namesOfLabels(labels: Labels, store: Pick<LayerStore, 'names' | 'namesChecksums'>): KnownNames | undefined {
  const [layerKey = '', impliedKey = ''] = labels[LABEL.names]?.split('/') ?? [];
  const checksum = store.namesChecksums(layerKey).get(impliedKey);
  return checksum === undefined ? undefined : { ...store.names(layerKey, impliedKey, checksum), checksum };
}

/** Reads a names image, which also brings it into memory. @throws {LayerError} `STORE_BROKEN` when it is not what was written */
export async function checkNames({ path, checksum, layerDigest }: KnownNames): Promise<void> {
  if (crc32(await readFile(path)) !== checksum)
    throw new LayerError('STORE_BROKEN', `layer ${layerDigest}: names image ${path} is damaged`);
}
