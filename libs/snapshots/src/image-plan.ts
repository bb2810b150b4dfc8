import type { Descriptor } from '@soci/image';
import type { LayerNames, LayerSource } from '@soci/layer';
import { LABEL } from './labels.ts';
import type { Labels } from './snapshot.ts';

/** An image as a Prepare names it in its labels. */
export interface ImageRequest {
  /** As the pull wrote it: `registry.example.com/app:1`. */
  readonly reference: string;
  /** Manifest of one platform. */
  readonly manifestDigest: string;
  /** An index that the user chose; the image's own otherwise. */
  readonly indexDigest?: string;
  /** containerd namespace of the pull. */
  readonly namespace: string;
}

/** What was decided for an image as a whole. */
export type ImagePlan =
  | {
      readonly kind: 'lazy';
      /** Names to mount, lowest layer first. */
      readonly layers: readonly LayerNames[];
      /** Lists of spans to fetch early, by layer digest. */
      readonly prefetch: ReadonlyMap<string, Descriptor>;
      /** Through which image the layers are read. */
      readonly source: LayerSource;
    }
  | { readonly kind: 'declined'; readonly cause: 'no-index' | 'disabled' | 'failed'; readonly reason: string; readonly error?: unknown };

/** Finds out how the layers of an image can be served. Rejects only with the signal's reason. */
export interface ImagePlanner {
  plan(image: ImageRequest, signal: AbortSignal): Promise<ImagePlan>;
}

/** The image and the layer that labels name; otherwise which label is missing. */
export function imageOfLabels(
  labels: Labels,
  namespace: string,
): { readonly image: ImageRequest; readonly layerDigest: string } | { readonly missing: string } {
  const reference = labels[LABEL.imageRef];
  const manifestDigest = labels[LABEL.manifestDigest];
  const layerDigest = labels[LABEL.layerDigest];
  const indexDigest = labels[LABEL.indexDigest];
  if (reference === undefined) return { missing: LABEL.imageRef };
  if (manifestDigest === undefined) return { missing: LABEL.manifestDigest };
  if (layerDigest === undefined) return { missing: LABEL.layerDigest };
  return { image: { reference, manifestDigest, namespace, ...(indexDigest === undefined ? {} : { indexDigest }) }, layerDigest };
}

/**
 * The names of one layer in a plan.
 * @param depth how many layers are below it: an image may hold a layer twice, above different ones
 */
export function layerOfPlan(layers: readonly LayerNames[], layerDigest: string, depth: number): LayerNames | undefined {
  const expected = layers[depth];
  return expected?.layerDigest === layerDigest ? expected : layers.find((names) => names.layerDigest === layerDigest);
}
