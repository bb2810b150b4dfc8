import { hasCode } from '@soci/errors';
import { parseReference, type Descriptor, type Manifest } from '@soci/image';
import type { SociIndex, ZtocEntry } from '@soci/index';
import { LayerError, layerKey, type BlobSource, type LayerNames, type LayerPreparer, type LayerSource, type LayerStore } from '@soci/layer';
import { EarlyArtifacts } from './early-artifacts.ts';
import type { ImagePlan, ImagePlanner, ImageRequest } from './image-plan.ts';
import { Patience } from './patience.ts';

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
  ): Promise<{
    readonly manifest: Manifest;
    readonly index: SociIndex;
    readonly indexDescriptor?: Pick<Descriptor, 'digest'>;
    /** Kubernetes namespaces that pull it, where pulls are seen. */
    readonly namespaces?: readonly string[];
  }>;

  /** A zTOC, checked against its digest. */
  readArtifact(
    request: PulledImage & { readonly descriptor: Pick<Descriptor, 'digest' | 'size'> },
    signal: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>>;

  /** Artifacts that nobody here needs any more are not kept. Left out where none are. */
  releaseArtifacts?(digests: readonly string[], signal: AbortSignal): Promise<void>;

  /** Which Kubernetes namespaces pulled these references so far: a list for each, in their order. Left out where pulls are not seen. */
  findNamespaces?(references: readonly string[], signal: AbortSignal): Promise<readonly (readonly string[])[]>;
}

export interface LazyImagePlannerOptions {
  readonly source: ImageSource;
  readonly store: Pick<LayerStore, 'addSource' | 'isPrepared' | 'artifacts'>;
  readonly preparer: Pick<LayerPreparer, 'begin' | 'prepare' | 'prepareWhole'>;
  readonly pullModes: { readonly sociV1: boolean; readonly sociV2: boolean };
  /** How long an image is waited for whose credentials are not ready yet. */
  readonly notReadyWaitMs?: number;
}

const NOT_READY_WAIT_MS = 10_000;

/**
 * Plans images that have a SOCI index: all zTOCs are fetched at the same time, and the names of every layer made, before the first one is mounted.
 * A layer without a zTOC in such an image is fetched whole, so that no layer is left to the runtime.
 */
export class LazyImagePlanner implements ImagePlanner {
  readonly #options: LazyImagePlannerOptions;

  constructor(options: LazyImagePlannerOptions) {
    this.#options = options;
  }

  /**
   * Credentials that are not ready yet are waited for, once for the image as a whole; those that are refused are not: the runtime pulls the image,
   * with credentials of its own.
   */
  async plan(image: ImageRequest, signal: AbortSignal): Promise<ImagePlan> {
    const { source, notReadyWaitMs = NOT_READY_WAIT_MS } = this.#options;
    using patience = new Patience(source, notReadyWaitMs);
    for (;;) {
      try {
        return await this.#plan(image, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (hasCode(error, 'NO_INDEX')) return { kind: 'declined', cause: 'no-index', reason: error.message };
        const isNotReady = hasCode(error, 'CREDENTIALS_NOT_READY');
        if (isNotReady && (await patience.wait(signal))) continue;
        const reason = isNotReady
          ? `credentials were not ready within ${notReadyWaitMs} ms`
          : 'manifest, SOCI index or zTOCs cannot be used';
        return { kind: 'declined', cause: 'failed', reason, error };
      }
    }
  }

  async #plan(image: ImageRequest, signal: AbortSignal): Promise<ImagePlan> {
    const { reference, manifestDigest, indexDigest } = image;
    const { source: registries, store, preparer, pullModes } = this.#options;
    preparer.begin();
    const request = { reference, namespaces: [], manifestDigest, pullModes, ...(indexDigest === undefined ? {} : { indexDigest }) };
    const { manifest, index, indexDescriptor, namespaces = [] } = await registries.resolveImage(request, signal);
    if (indexDescriptor !== undefined) store.artifacts.note(indexDescriptor.digest, reference);
    const source: LayerSource = { reference, repository: parseReference(reference).name, namespaces };
    return { kind: 'lazy', layers: await this.#prepareTwice(source, manifest.layers, index, signal), prefetch: index.prefetch, source };
  }

  /** A layer that was there can go in the middle, with the last snapshot of another image: it is prepared again. */
  async #prepareTwice(
    image: LayerSource,
    layers: readonly Descriptor[],
    index: SociIndex,
    signal: AbortSignal,
  ): Promise<readonly LayerNames[]> {
    try {
      return await this.#prepareAll(image, layers, index, signal);
    } catch (cause) {
      if (!(cause instanceof LayerError && cause.code === 'NOT_FOUND')) throw cause;
      return await this.#prepareAll(image, layers, index, signal);
    }
  }

  /** Layers are prepared from the lowest up: what a directory without an entry of its own looks like is found below. */
  async #prepareAll(
    image: LayerSource,
    layers: readonly Descriptor[],
    index: SociIndex,
    signal: AbortSignal,
  ): Promise<readonly LayerNames[]> {
    const { store, source } = this.#options;
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    const artifacts = new EarlyArtifacts(image, source, either);
    try {
      for (const layer of layers) this.#startFetch(artifacts, layer, index);
      const prepared: LayerNames[] = [];
      for (const layer of layers) {
        const lowers = prepared.map((names) => names.layerKey).reverse();
        prepared.push(await this.#prepare({ image, layer, ztoc: index.ztocs.get(layer.digest), lowers, artifacts }, either));
        store.addSource(layer.digest, image);
      }
      return prepared;
    } catch (cause) {
      failed.abort(cause); // the other artifacts are of no use any more
      throw cause;
    }
  }

  #startFetch(artifacts: EarlyArtifacts, layer: Descriptor, { ztocs, prefetch }: SociIndex): void {
    const { store } = this.#options;
    const ztoc = ztocs.get(layer.digest);
    const key = layerKey(layer.digest, ztoc?.descriptor.digest);
    for (const artifact of [ztoc?.descriptor, prefetch.get(layer.digest)]) {
      if (artifact !== undefined) store.artifacts.note(artifact.digest, key);
    }
    if (store.isPrepared(key)) return;
    if (ztoc === undefined) artifacts.startLayer(layer);
    else artifacts.startZtoc(ztoc.descriptor);
  }

  async #prepare({ image, layer, ztoc, lowers, artifacts }: LayerToPrepare, signal: AbortSignal): Promise<LayerNames> {
    const { preparer } = this.#options;
    const { digest: layerDigest, size: sizeBytes } = layer;
    if (ztoc === undefined) {
      return preparer.prepareWhole({ layerDigest, sizeBytes, lowers, image, source: artifacts.layerSource() }, signal);
    }
    const { descriptor } = ztoc;
    const fetch = (shared: AbortSignal): Promise<Uint8Array> => artifacts.ztoc(descriptor, shared);
    return preparer.prepare({ layerDigest, sizeBytes, ztoc: { digest: descriptor.digest, fetch }, lowers }, signal);
  }
}

interface LayerToPrepare {
  readonly image: LayerSource;
  readonly layer: Descriptor;
  readonly ztoc: ZtocEntry | undefined;
  /** Keys of the layers below, nearest first. */
  readonly lowers: readonly string[];
  readonly artifacts: EarlyArtifacts;
}
