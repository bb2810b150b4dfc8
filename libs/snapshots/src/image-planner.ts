import { hasCode } from '@soci/errors';
import { parseReference, type Descriptor, type Manifest } from '@soci/image';
import type { SociIndex, ZtocEntry } from '@soci/index';
import { layerKey, type BlobSource, type LayerNames, type LayerPreparer, type LayerStore } from '@soci/layer';
import { SnapshotError } from './errors.ts';
import type { ImagePlan, ImagePlanner, ImageRequest } from './image-plan.ts';

interface PulledImage {
  readonly reference: string;
  readonly namespaces: readonly string[];
}

/** Who speaks to registries: what a plan needs of the registry fetcher, in this process or over a socket. */
export interface ImageSource extends BlobSource {
  /** @throws an error with code `NO_INDEX` when the image has no SOCI index */
  resolveImage(
    request: PulledImage & {
      readonly manifestDigest: string;
      readonly indexDigest?: string;
      readonly pullModes: { readonly sociV1: boolean; readonly sociV2: boolean };
    },
    signal: AbortSignal,
  ): Promise<{ readonly manifest: Manifest; readonly index: SociIndex }>;

  /** A zTOC, checked against its digest. */
  readArtifact(
    request: PulledImage & { readonly descriptor: Pick<Descriptor, 'digest' | 'size'> },
    signal: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>>;
}

export interface LazyImagePlannerOptions {
  readonly source: ImageSource;
  readonly store: Pick<LayerStore, 'addSource' | 'isPrepared'>;
  readonly preparer: Pick<LayerPreparer, 'prepare'>;
  readonly pullModes: { readonly sociV1: boolean; readonly sociV2: boolean };
}

/**
 * Plans images that have a SOCI index: all zTOCs are fetched at the same time, and the names of every layer made, before the first one is mounted.
 * A layer without a zTOC in such an image is fetched whole, so that no layer is left to the runtime.
 */
export class LazyImagePlanner implements ImagePlanner {
  readonly #options: LazyImagePlannerOptions;

  constructor(options: LazyImagePlannerOptions) {
    this.#options = options;
  }

  async plan(image: ImageRequest, signal: AbortSignal): Promise<ImagePlan> {
    const { source, pullModes } = this.#options;
    const { reference, manifestDigest, indexDigest } = image;
    const request = { reference, namespaces: [], manifestDigest, pullModes, ...(indexDigest === undefined ? {} : { indexDigest }) };
    try {
      const { manifest, index } = await source.resolveImage(request, signal);
      return { kind: 'lazy', layers: await this.#prepareAll(image, manifest.layers, index, signal) };
    } catch (error) {
      signal.throwIfAborted();
      if (hasCode(error, 'NO_INDEX')) return { kind: 'declined', cause: 'no-index', reason: error.message };
      return { kind: 'declined', cause: 'failed', reason: 'manifest, SOCI index or zTOCs cannot be used', error };
    }
  }

  /** Layers are prepared from the lowest up: what a directory without an entry of its own looks like is found below. */
  async #prepareAll(
    image: ImageRequest,
    layers: readonly Descriptor[],
    index: SociIndex,
    signal: AbortSignal,
  ): Promise<readonly LayerNames[]> {
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    try {
      const fetches = layers.map((layer) => this.#startFetch(image, layer, index.ztocs.get(layer.digest), either));
      const prepared: LayerNames[] = [];
      for (const [depth, layer] of layers.entries()) {
        const lowers = prepared.map((names) => names.layerKey).reverse();
        prepared.push(await this.#prepare(image, layer, index.ztocs.get(layer.digest), { early: fetches[depth], lowers }, either));
        this.#options.store.addSource(layer.digest, {
          reference: image.reference,
          repository: repositoryOf(image.reference),
          namespaces: [],
        });
      }
      return prepared;
    } catch (cause) {
      failed.abort(cause); // the other zTOCs are of no use any more
      throw cause;
    }
  }

  async #prepare(
    image: ImageRequest,
    layer: Descriptor,
    ztoc: ZtocEntry | undefined,
    { early, lowers }: { readonly early: Promise<Uint8Array<ArrayBuffer>> | undefined; readonly lowers: readonly string[] },
    signal: AbortSignal,
  ): Promise<LayerNames> {
    const { preparer } = this.#options;
    if (ztoc === undefined) throw new SnapshotError('UNAVAILABLE', `layer ${layer.digest} has no zTOC`);
    const fetch = (shared: AbortSignal): Promise<Uint8Array> => early ?? this.#readZtoc(image, ztoc, shared);
    return preparer.prepare({ layerDigest: layer.digest, ztoc: { digest: ztoc.descriptor.digest, fetch }, lowers }, signal);
  }

  /** Begins to fetch a zTOC that is not on disk; the preparation of its layer waits for it. */
  #startFetch(
    image: ImageRequest,
    layer: Descriptor,
    ztoc: ZtocEntry | undefined,
    signal: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> | undefined {
    const { store } = this.#options;
    if (ztoc === undefined || store.isPrepared(layerKey(layer.digest, ztoc.descriptor.digest))) return undefined;
    const fetch = this.#readZtoc(image, ztoc, signal);
    fetch.catch(() => undefined); // heard of by whoever prepares the layer, or of no interest because another one failed first
    return fetch;
  }

  #readZtoc({ reference }: ImageRequest, { descriptor }: ZtocEntry, signal: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    return this.#options.source.readArtifact({ reference, namespaces: [], descriptor }, signal);
  }
}

function repositoryOf(reference: string): string {
  return parseReference(reference).name;
}
