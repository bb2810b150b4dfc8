import { LayerError } from './errors.ts';

const DIGEST = /^sha256:([0-9a-f]{64})$/;
const DIGEST_HEX = 64;
const ZTOC_HEX = 32;
/** Stands for the zTOC of a layer that was fetched whole. */
const WHOLE = 'whole';
const LAYER_KEY = /^[0-9a-f]{64}-([0-9a-f]{32}|whole)$/;

/**
 * Names a layer on this node: its blob and the zTOC through which it is read. The same blob with another zTOC is another layer here, because names, owners and
 * modes come from the zTOC, which anybody may publish who has an image with that blob.
 */
export function layerKey(layerDigest: string, ztocDigest: string | undefined): string {
  const [layer, ztoc] = [hexOf(layerDigest), ztocDigest === undefined ? WHOLE : hexOf(ztocDigest)];
  if (layer === undefined || ztoc === undefined)
    throw new LayerError('NOT_FOUND', `layer ${layerDigest.slice(0, 100)}: not a sha256 digest`);
  return `${layer}-${ztoc.slice(0, ZTOC_HEX)}`;
}

export function isLayerKey(text: string): boolean {
  return LAYER_KEY.test(text);
}

/** Digest of the layer blob. */
export function digestOfKey(key: string): string {
  return `sha256:${key.slice(0, DIGEST_HEX)}`;
}

/** Whether the layer was fetched whole. Its spans are those of its tar: the registry has no such ranges. */
export function isWholeKey(key: string): boolean {
  return key.endsWith(`-${WHOLE}`);
}

/** Whether a zTOC with this SHA-256 is the one of the key; that of a layer that was fetched whole is made here, and not known by its digest. */
export function isZtocOfKey(key: string, sha256Hex: string): boolean {
  return isWholeKey(key) || key.endsWith(`-${sha256Hex.slice(0, ZTOC_HEX)}`);
}

function hexOf(digest: string): string | undefined {
  return DIGEST.exec(digest)?.[1];
}
