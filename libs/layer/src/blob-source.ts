/** How urgent bytes are: somebody waits for them, they will likely be wanted next, or they only complete the layer. */
export type FetchPriority = 'demand' | 'read-ahead' | 'fill';

/** A range of a blob, as it is stored in the registry. */
export interface BlobRequest {
  /** The image through which the blob is reached, as the pull named it. */
  readonly reference: string;
  /** Kubernetes namespaces that pulled the image, where known. */
  readonly namespaces?: readonly string[];
  /** Digest of the blob: `sha256:` and 64 hex digits. */
  readonly digest: string;
  readonly offsetBytes: number;
  /** At least 1. */
  readonly lengthBytes: number;
  readonly priority: FetchPriority;
}

/** Who brings the compressed bytes of layers. */
export interface BlobSource {
  /**
   * Exactly the bytes of the range, in order, in pieces of any size. A source that has nothing else to try throws; it never ends early without one.
   * The caller may keep the pieces. Aborting `signal` ends the request.
   */
  read(request: BlobRequest, signal: AbortSignal): AsyncIterable<Uint8Array>;
}
