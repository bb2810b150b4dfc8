import {
  type Descriptor,
  encodeIndex,
  type Index,
  isIndexType,
  isManifestType,
  MAX_MANIFEST_BYTES,
  MEDIA_TYPE,
  parseIndex,
  sha256Digest,
} from '@soci/image';
import { IndexError } from './errors.ts';
import { LAYOUT_INDEX, type LayoutFiles, readLayoutFile } from './layout-source.ts';
import type { LayoutStore } from './layout-store.ts';

/**
 * The image that a layout holds: its only manifest, or the list of its manifests, be that a nested index (as `docker save` and nerdctl write) or `index.json` itself
 * (as crane does). Manifests that the layout names but does not hold are left out; a list that changes thereby is written into the store.
 *
 * @throws {IndexError} `LAYOUT_INVALID` when there is no image
 */
export async function resolveLayoutRoot(files: LayoutFiles, store: LayoutStore, signal: AbortSignal): Promise<Descriptor> {
  const file = files.get(LAYOUT_INDEX);
  if (file === undefined) throw new IndexError('LAYOUT_INVALID', `no ${LAYOUT_INDEX}: not an OCI image layout`);
  const top = parseIndex(await readLayoutFile(file, MAX_MANIFEST_BYTES, signal));
  const [only, ...others] = top.manifests;
  if (only === undefined) throw new IndexError('LAYOUT_INVALID', `${LAYOUT_INDEX} contains no manifests`);
  const isNested = others.length === 0;
  if (isNested && !isIndexType(only.mediaType)) return only;

  const list = isNested ? parseIndex(await store.read(only.digest, MAX_MANIFEST_BYTES, signal)) : top;
  const available = list.manifests.filter(({ digest }) => store.find(digest) !== undefined);
  const [first] = available;
  if (first === undefined) throw new IndexError('LAYOUT_INVALID', 'manifest list contains no entries with available blobs');
  if (available.length === 1 && isManifestType(first.mediaType)) return first;
  if (isNested && available.length === list.manifests.length) return only;
  return await writeList(
    { ...list, mediaType: isNested ? only.mediaType : (top.mediaType ?? MEDIA_TYPE.ociIndex), manifests: available },
    store,
    signal,
  );
}

async function writeList(list: Index & { readonly mediaType: string }, store: LayoutStore, signal: AbortSignal): Promise<Descriptor> {
  const bytes = encodeIndex(list);
  const descriptor = { mediaType: list.mediaType, digest: sha256Digest(bytes), size: bytes.length };
  await store.write(descriptor, bytes, {}, signal);
  return descriptor;
}
