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

/** Something changed for a source: credentials came or went, or it was out of reach and is back. What failed before may work now. */
export interface BlobSourceChange {
  /** Registries where it may, as image references name them, in lower case, Docker Hub as `docker.io`; left out: any. */
  readonly hosts?: readonly string[];
}

/** Who brings the compressed bytes of layers. */
export interface BlobSource {
  /**
   * Exactly the bytes of the range, in order, in pieces of any size. A source that has nothing else to try throws; it never ends early without one.
   * The caller may keep the pieces. Aborting `signal` ends the request.
   */
  read(request: BlobRequest, signal: AbortSignal): AsyncIterable<Uint8Array>;

  /** Calls back after every change, until disposed of. Sources that never change leave it out. */
  onChange?(listener: (change: BlobSourceChange) => void): Disposable;
}
