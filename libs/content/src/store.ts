import type { Descriptor } from '@soci/image';

/** One blob, open for reading. */
export interface BlobReader extends AsyncDisposable {
  readonly sizeBytes: number;
  /** A local file that holds exactly these bytes, where the store has one: it can be read by position, also from another thread. */
  readonly path?: string;
  /**
   * The bytes from `offsetBytes` on, not checked against the digest. Leaving the loop early frees what it holds.
   * @throws {ContentError} `NOT_FOUND` when the blob was deleted meanwhile, `UNAVAILABLE`, `STORE_BROKEN`
   */
  stream(offsetBytes: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

export interface BlobInfo {
  readonly digest: string;
  readonly sizeBytes: number;
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * A place for blobs, addressed by digest: an OCI layout of ours or containerd's content store.
 *
 * Every method may throw {@link ContentError} `DIGEST_INVALID` for what is no digest, `UNAVAILABLE` when the store does not answer and
 * `STORE_BROKEN` when it answers what it should not.
 */
export interface ContentStore {
  readonly kind: 'soci' | 'containerd';
  stat(digest: string, signal: AbortSignal): Promise<BlobInfo | undefined>;
  /** @throws {ContentError} `NOT_FOUND` */
  open(digest: string, signal: AbortSignal): Promise<BlobReader>;
  /**
   * The whole blob, checked against its digest.
   * @throws {ContentError} `NOT_FOUND`, `TOO_LARGE` when it is longer than `maxBytes`, `DIGEST_MISMATCH`
   */
  read(digest: string, maxBytes: number, signal: AbortSignal): Promise<Uint8Array>;
  /**
   * Stores a blob under its digest, all of it or nothing. One that is there already is left as it is, and its labels are added.
   * @throws {ContentError} `DIGEST_MISMATCH`, `SIZE_MISMATCH` when the content is not what the descriptor says
   */
  write(descriptor: Descriptor, content: Uint8Array | AsyncIterable<Uint8Array>, options: WriteOptions, signal: AbortSignal): Promise<void>;
  /**
   * Adds labels to a blob (containerd's garbage collector goes by them), and makes one that was {@link WriteOptions.cached} stay.
   * @throws {ContentError} `NOT_FOUND`
   */
  label(digest: string, labels: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void>;
  /** One that is not there is no error. */
  delete(digest: string, signal: AbortSignal): Promise<void>;
}

/** A store for copies of what a registry has, too. */
export interface CachingStore extends ContentStore {
  /** Gives up a blob that was written as {@link WriteOptions.cached}, by whoever; nothing happens to one that somebody stored to stay, or that is not there. */
  release(digest: string, signal: AbortSignal): Promise<void>;
}

/** A store whose blobs can be gone through, each once, in no particular order. */
export interface ListableStore extends ContentStore {
  list(signal: AbortSignal): AsyncIterable<BlobInfo>;
}

export interface WriteOptions {
  /** The blob is a copy that can be fetched again: it may be deleted by `release`. Whoever writes or labels it otherwise makes it stay. */
  readonly cached?: boolean;
  readonly labels?: Readonly<Record<string, string>>;
}
