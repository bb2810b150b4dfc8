import type { Descriptor } from '@soci/image';
import { countSpans, MAX_PREFETCH_BYTES, mergeSpans, parsePrefetch } from '@soci/index';
import type { LayerNames, LayerSource } from '@soci/layer';
import type { Logger } from '@soci/log';
import { SnapshotError } from './errors.ts';
import type { ImageSource } from './image-planner.ts';
import type { ServedLayers } from './served-layers.ts';

export interface PrefetchOptions {
  readonly source: Pick<ImageSource, 'readArtifact'>;
  readonly served: Pick<ServedLayers, 'prefetch'>;
  readonly log: Logger;
}

const DEADLINE_MS = 60_000;

/** Fetches the spans that an image's builder said a container reads first, once its layer is mounted, behind whatever is read meanwhile. */
export class Prefetch implements AsyncDisposable {
  readonly #options: PrefetchOptions;
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(options: PrefetchOptions) {
    this.#options = options;
  }

  /** @param artifact the list of spans, of the layer that was just mounted */
  start(image: LayerSource, names: LayerNames, artifact: Descriptor): void {
    const task = this.#load(image, names, artifact)
      .catch((error: unknown) => {
        if (this.#stop.signal.aborted) return;
        this.#options.log.warn({ digest: artifact.digest, layerDigest: names.layerDigest, error }, 'prefetch artifact cannot be used');
      })
      .finally(() => this.#running.delete(task));
    this.#running.add(task);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the snapshotter stops'));
    await Promise.all(this.#running);
  }

  async #load({ reference, namespaces }: LayerSource, { layerKey, layerDigest }: LayerNames, descriptor: Descriptor): Promise<void> {
    const { source, served, log } = this.#options;
    if (descriptor.size > MAX_PREFETCH_BYTES) throw new SnapshotError('INVALID_ARGUMENT', `prefetch artifact of ${descriptor.size} bytes`);
    log.info({ layerDigest }, `Loading prefetch artifact ${descriptor.digest}`);
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(DEADLINE_MS)]);
    const spans = mergeSpans(parsePrefetch(await source.readArtifact({ reference, namespaces, descriptor }, signal)));
    for (const { startSpan, endSpan } of spans) served.prefetch(layerKey, startSpan, endSpan);
    log.info({ layerDigest, spans: countSpans(spans) }, `Successfully loaded prefetch artifact with ${spans.length} span ranges`);
  }
}
