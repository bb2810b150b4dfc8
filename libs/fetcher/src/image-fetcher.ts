import type { Descriptor, Manifest } from '@soci/image';
import type { SociIndex } from '@soci/index';
import type { BlobSource, BlobSourceChange } from '@soci/layer';

/** An image as a pull named it. */
export interface PulledImage {
  /** As the label of the pull says it: `registry.example.com/app:1`. */
  readonly reference: string;
  /** Kubernetes namespaces that pulled it; empty when unknown. */
  readonly namespaces: readonly string[];
}

export interface ResolveImageRequest extends PulledImage {
  /** Digest of the manifest of the platform that is pulled. */
  readonly manifestDigest: string;
  /** The SOCI index that whoever pulls named by a label; it is taken whatever the pull modes say. */
  readonly indexDigest?: string;
  readonly pullModes: { readonly sociV1: boolean; readonly sociV2: boolean };
}

/** How an index was found. */
export type IndexOrigin = 'label' | 'annotation' | 'referrers';

/** An image and the SOCI index that makes it lazy. */
export interface ResolvedImage {
  readonly manifest: Manifest;
  readonly manifestDescriptor: Descriptor;
  /** zTOCs and prefetch lists by layer digest. A layer that is not among the zTOCs has to be fetched whole. */
  readonly index: SociIndex;
  readonly indexDescriptor: Descriptor;
  readonly indexOrigin: IndexOrigin;
  /** Kubernetes namespaces that pull it now or have done so, those of the request among them. */
  readonly namespaces: readonly string[];
}

export interface ArtifactRequest extends PulledImage {
  readonly descriptor: Pick<Descriptor, 'digest' | 'size'>;
}

/** Who speaks to registries for the snapshotter: in this process, or over a socket. What it throws carries a `FetcherErrorCode`, whichever library it comes from. */
export interface ImageFetcher extends BlobSource {
  /**
   * Finds an image's manifest and its index: the one that is named, else that of the manifest's annotation (v2), else the first that refers to the manifest (v1).
   * An annotation whose index cannot be had is an error, not a reason to look for v1.
   * @throws with code `NO_INDEX` when there is none, or neither kind may be looked for; other codes say why it could not be told
   */
  resolveImage(request: ResolveImageRequest, signal: AbortSignal): Promise<ResolvedImage>;

  /**
   * A zTOC, prefetch list or config, checked against its digest. The caller owns the buffer.
   * @throws with code `TOO_LARGE` above half a gigabyte, `DIGEST_MISMATCH`, and those of registries
   */
  readArtifact(request: ArtifactRequest, signal: AbortSignal): Promise<Uint8Array<ArrayBuffer>>;

  /** Which Kubernetes namespaces have pulled these references, as far as is remembered: a list for each, in their order. */
  findNamespaces(references: readonly string[], signal: AbortSignal): Promise<readonly (readonly string[])[]>;

  /**
   * No layer or image here needs these artifacts any more: copies of them are not kept, save those that somebody else has stored. Unknown ones are no error.
   * Whoever needs one after all gets it from its registry.
   */
  releaseArtifacts(digests: readonly string[], signal: AbortSignal): Promise<void>;

  /** Calls back, until disposed of, when credentials for registries changed, and when a fetcher in another process was out of reach and is back. */
  onChange(listener: (change: BlobSourceChange) => void): Disposable;
}
