import type { ContentStore } from '@soci/content';
import { MAX_MANIFEST_BYTES, parseManifest, type Descriptor } from '@soci/image';
import { parseSociIndex } from '@soci/index';
import type { PushTarget } from './push-target.ts';

export interface PushEvents {
  onPushing(digest: string): void;
  onPushed(digest: string): void;
  onSkipped(digest: string): void;
}

export interface PushIndexOptions {
  readonly target: PushTarget;
  readonly index: Descriptor;
  /** Where the index and its blobs are. */
  readonly artifacts: ContentStore;
  /** Where the image is, should the registry not have it. */
  readonly images: ContentStore;
  readonly maxUploads: number;
  readonly events: PushEvents;
}

/** Pushes a v1 index with all it needs, what is pointed at before what points: image, config and zTOCs, then the index. */
export async function pushIndex(options: PushIndexOptions, signal: AbortSignal): Promise<void> {
  const { target, index, artifacts, events } = options;
  const { client, repository } = target;
  if (await client.hasManifest(repository, index.digest, signal)) {
    events.onSkipped(index.digest);
    return;
  }
  const bytes = await artifacts.read(index.digest, MAX_MANIFEST_BYTES, signal);
  const { blobs, subject } = parseSociIndex(bytes);
  const { config } = parseManifest(bytes);
  if (subject !== undefined) await pushImage(subject, options, signal);
  await pushBlobs([config, ...blobs], artifacts, options, signal);
  events.onPushing(index.digest);
  await client.pushManifest(repository, bytes, index.mediaType, undefined, signal);
  events.onPushed(index.digest);
}

async function pushImage(subject: Descriptor, options: PushIndexOptions, signal: AbortSignal): Promise<void> {
  const { target, images, events } = options;
  const { client, repository } = target;
  if (await client.hasManifest(repository, subject.digest, signal)) {
    events.onSkipped(subject.digest);
    return;
  }
  const bytes = await images.read(subject.digest, MAX_MANIFEST_BYTES, signal);
  const { config, layers } = parseManifest(bytes);
  await pushBlobs([config, ...layers], images, options, signal);
  events.onPushing(subject.digest);
  await client.pushManifest(repository, bytes, subject.mediaType, undefined, signal);
  events.onPushed(subject.digest);
}

async function pushBlobs(blobs: readonly Descriptor[], store: ContentStore, options: PushIndexOptions, signal: AbortSignal): Promise<void> {
  const distinct = [...new Map(blobs.map((blob) => [blob.digest, blob])).values()];
  const waiting = distinct[Symbol.iterator]();
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const work = async (): Promise<void> => {
    for (const blob of waiting) await pushBlob(blob, store, options, either);
  };
  const workers = Array.from({ length: Math.min(options.maxUploads, distinct.length) }, () =>
    work().catch((error: unknown) => {
      failed.abort(error); // the first failure ends the other uploads
      throw error;
    }),
  );
  const [first] = (await Promise.allSettled(workers)).filter((result) => result.status === 'rejected');
  if (first !== undefined) throw failed.signal.reason;
}

async function pushBlob(blob: Descriptor, store: ContentStore, { target, events }: PushIndexOptions, signal: AbortSignal): Promise<void> {
  const { client, repository } = target;
  if (await client.hasBlob(repository, blob.digest, signal)) {
    events.onSkipped(blob.digest);
    return;
  }
  events.onPushing(blob.digest);
  await using reader = await store.open(blob.digest, signal);
  await client.pushBlob(repository, blob, () => reader.stream(0, signal), signal);
  events.onPushed(blob.digest);
}
