import type { Descriptor } from '@soci/image';

/** A name and what it points at. */
export interface ImageRecord {
  /** As it was given, compared byte by byte: `registry.example.com/app:1`. */
  readonly name: string;
  readonly target: Descriptor;
  readonly labels: Readonly<Record<string, string>>;
}

/** Names for images: containerd's image service, or the tagged entries of an OCI layout. Errors are those of the content stores. */
export interface ImageStore {
  get(name: string, signal: AbortSignal): Promise<ImageRecord | undefined>;
  list(signal: AbortSignal): Promise<readonly ImageRecord[]>;
  /** Makes the name point at the record's target, whether it was there or not; its labels are added to those it has. */
  put(record: ImageRecord, signal: AbortSignal): Promise<void>;
  /** Adds labels. @throws {ContentError} `NOT_FOUND` */
  label(name: string, labels: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void>;
}
