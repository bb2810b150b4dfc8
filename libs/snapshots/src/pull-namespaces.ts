import { hostOf, PacedChanges, PendingChange, type BlobSourceChange, type LayerStore } from '@soci/layer';
import type { Logger } from '@soci/log';
import type { ImageSource } from './image-planner.ts';

export interface PullNamespacesOptions {
  readonly source: Pick<ImageSource, 'onChange' | 'findNamespaces'>;
  readonly store: Pick<LayerStore, 'images' | 'addNamespaces'>;
  readonly log: Logger;
}

/** References that are asked about at a time. */
const MAX_REFERENCES = 500;
const DEADLINE_MS = 10_000;

/**
 * Notes with the layers which Kubernetes namespaces pull their images after they were planned: whose credentials may be used is to be right after a restart, too.
 * A pull of an image that is here already asks nothing of the snapshotter, but it brings a credential, and that is a change.
 */
export class PullNamespaces implements AsyncDisposable {
  readonly #options: PullNamespacesOptions;
  readonly #changes: PacedChanges;
  readonly #pending = new PendingChange();
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: PullNamespacesOptions) {
    this.#options = options;
    this.#changes = new PacedChanges(options.source, (change) => {
      this.#pending.add(change);
      this.#running ??= this.#run().finally(() => (this.#running = undefined));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#changes[Symbol.dispose]();
    this.#stop.abort(new Error('the snapshotter stops'));
    await this.#running;
  }

  async #run(): Promise<void> {
    for (let change = this.#pending.take(); change !== undefined; change = this.#pending.take()) await this.#update(change);
  }

  async #update({ hosts }: BlobSourceChange): Promise<void> {
    const { source, store, log } = this.#options;
    const concerned = hosts && new Set(hosts);
    try {
      const images = store.images().filter((image) => concerned === undefined || concerned.has(hostOf(image)));
      for (let at = 0; at < images.length; at += MAX_REFERENCES) {
        const references = images.slice(at, at + MAX_REFERENCES).map(({ reference }) => reference);
        const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(DEADLINE_MS)]);
        const found = await source.findNamespaces?.(references, signal);
        for (const [i, reference] of references.entries()) {
          const namespaces = found?.[i] ?? [];
          if (namespaces.length > 0) store.addNamespaces(reference, namespaces);
        }
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) log.warn({ error }, 'it cannot be told who pulled the images that are here');
    }
  }
}
