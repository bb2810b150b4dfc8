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
  /** By layer key. */
  readonly #layers = new Map<string, { readonly stop: AbortController; tasks: number }>();

  constructor(options: PrefetchOptions) {
    this.#options = options;
  }

  /** @param artifact the list of spans, of the layer that was just mounted */
  start(image: LayerSource, names: LayerNames, artifact: Descriptor): void {
    const layer = this.#layers.get(names.layerKey) ?? { stop: new AbortController(), tasks: 0 };
    this.#layers.set(names.layerKey, layer);
    layer.tasks++;
    const signal = AbortSignal.any([this.#stop.signal, layer.stop.signal]);
    const task = this.#load(image, names, artifact, signal)
      .catch((error: unknown) => {
        if (signal.aborted) return;
        this.#options.log.warn({ digest: artifact.digest, layerDigest: names.layerDigest, error }, 'prefetch artifact cannot be used');
      })
      .finally(() => {
        this.#running.delete(task);
        if (--layer.tasks === 0 && this.#layers.get(names.layerKey) === layer) this.#layers.delete(names.layerKey);
      });
    this.#running.add(task);
  }

  /** The layer is not used any more. */
  stop(layerKey: string): void {
    this.#layers.get(layerKey)?.stop.abort(new Error('the layer is not used any more'));
    this.#layers.delete(layerKey);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the snapshotter stops'));
    await Promise.all(this.#running);
  }

  async #load(
    { reference, namespaces }: LayerSource,
    { layerKey, layerDigest }: LayerNames,
    descriptor: Descriptor,
    stopped: AbortSignal,
  ): Promise<void> {
    const { source, served, log } = this.#options;
    if (descriptor.size > MAX_PREFETCH_BYTES) throw new SnapshotError('INVALID_ARGUMENT', `prefetch artifact of ${descriptor.size} bytes`);
    log.info({ layerDigest }, `Loading prefetch artifact ${descriptor.digest}`);
    const signal = AbortSignal.any([stopped, AbortSignal.timeout(DEADLINE_MS)]);
    const spans = mergeSpans(parsePrefetch(await source.readArtifact({ reference, namespaces, descriptor }, signal)));
    for (const { startSpan, endSpan } of spans) served.prefetch(layerKey, startSpan, endSpan);
    log.info({ layerDigest, spans: countSpans(spans) }, `Successfully loaded prefetch artifact with ${spans.length} span ranges`);
  }
}
