import type { ContentStore } from '@soci/content';
import type { Descriptor } from '@soci/image';

/** Writes every blob to both stores, and reads from the first. */
export function bothStores(first: ContentStore, second: ContentStore): ContentStore {
  return {
    kind: first.kind,
    stat: (digest, signal) => first.stat(digest, signal),
    open: (digest, signal) => first.open(digest, signal),
    read: (digest, maxBytes, signal) => first.read(digest, maxBytes, signal),
    async write(descriptor, content, options, signal) {
      await first.write(descriptor, content, options, signal);
      await second.write(descriptor, content instanceof Uint8Array ? content : readBack(first, descriptor, signal), options, signal);
    },
    async label(digest, labels, signal) {
      await first.label(digest, labels, signal);
      await second.label(digest, labels, signal);
    },
    async delete(digest, signal) {
      await first.delete(digest, signal);
      await second.delete(digest, signal);
    },
  };
}

async function* readBack(store: ContentStore, { digest }: Descriptor, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  await using blob = await store.open(digest, signal);
  yield* blob.stream(0, signal);
}
