import { type Descriptor, isIndexType, isManifestType } from '@soci/image';
import type { ArchiveEntry } from './archive-writer.ts';
import { IndexError } from './errors.ts';
import { readIndex, readManifest } from './image-reader.ts';
import { blobName } from './layout-source.ts';
import type { LayoutStore } from './layout-store.ts';

const MAX_DEPTH = 8;

/**
 * The blobs that an image reaches, each once, and the folders they are in.
 *
 * @throws {IndexError} `LAYOUT_INVALID` when one of them is not there
 */
export async function archiveEntries(target: Descriptor, store: LayoutStore, signal: AbortSignal): Promise<readonly ArchiveEntry[]> {
  const digests = new Set<string>();
  await reach(target, store, digests, 0, signal);
  const folders = new Set(['blobs/', ...[...digests].map((digest) => `blobs/${digest.slice(0, digest.indexOf(':'))}/`)]);
  const blobs = [...digests].map((digest): ArchiveEntry => {
    const file = store.find(digest);
    if (file === undefined) throw new IndexError('LAYOUT_INVALID', `${digest} is referenced, but the layout does not hold it`);
    return { name: blobName(digest), kind: 'blob', file, digest };
  });
  return [...[...folders].map((name): ArchiveEntry => ({ name, kind: 'folder' })), ...blobs];
}

async function reach(descriptor: Descriptor, store: LayoutStore, digests: Set<string>, depth: number, signal: AbortSignal): Promise<void> {
  if (digests.has(descriptor.digest)) return;
  if (depth > MAX_DEPTH) throw new IndexError('LAYOUT_INVALID', `${descriptor.digest}: nested too deep`);
  digests.add(descriptor.digest);
  for (const child of await childrenOf(descriptor, store, signal)) await reach(child, store, digests, depth + 1, signal);
}

async function childrenOf(descriptor: Descriptor, store: LayoutStore, signal: AbortSignal): Promise<readonly Descriptor[]> {
  if (store.find(descriptor.digest) === undefined) return []; // named as missing when its entry is made
  if (isIndexType(descriptor.mediaType)) return (await readIndex(store, descriptor, signal)).manifests;
  if (!isManifestType(descriptor.mediaType)) return [];
  const { config, layers } = await readManifest(store, descriptor, signal);
  return [config, ...layers];
}
