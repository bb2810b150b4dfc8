import { type BlobSourceChange, PendingChange } from '@soci/layer';
import type { ImageFetcher } from './image-fetcher.ts';

/** The changes of a fetcher until the signal, those that come while the last one is being dealt with as one. The first comes at once and is about any registry. */
export async function* changesOf(fetcher: Pick<ImageFetcher, 'onChange'>, until: AbortSignal): AsyncGenerator<BlobSourceChange> {
  const pending = new PendingChange();
  pending.add({}); // what was before is not known
  let wake = (): void => undefined;
  const onAbort = (): void => wake();
  using subscription = new DisposableStack();
  subscription.use(
    fetcher.onChange((change) => {
      pending.add(change);
      wake();
    }),
  );
  until.addEventListener('abort', onAbort);
  subscription.defer(() => until.removeEventListener('abort', onAbort));
  while (!until.aborted) {
    const change = pending.take();
    if (change !== undefined) yield change;
    else await new Promise<void>((resolve) => (wake = resolve));
  }
}
