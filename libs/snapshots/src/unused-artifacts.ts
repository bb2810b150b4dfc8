import type { LayerStore } from '@soci/layer';
import type { Logger } from '@soci/log';
import type { ImageSource } from './image-planner.ts';

export interface UnusedArtifactsOptions {
  readonly source: Pick<ImageSource, 'releaseArtifacts'>;
  readonly store: Pick<LayerStore, 'compact'> & { readonly artifacts: Pick<LayerStore['artifacts'], 'unused' | 'forget'> };
  readonly log: Logger;
}

/** Given up by one call at most. */
const BATCH = 1_000;
const DEADLINE_MS = 30_000;

/** Tells whoever fetches for this node which artifacts went with the last layer, or image, that needed them. One that is out of reach is told the next time. */
export class UnusedArtifacts implements AsyncDisposable {
  readonly #options: UnusedArtifactsOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: UnusedArtifactsOptions) {
    this.#options = options;
  }

  /** Nobody waits for it. */
  release(): void {
    this.#running ??= this.#releaseAll()
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted) this.#options.log.warn({ error }, 'artifacts of removed images cannot be given up, will try again');
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the snapshotter stops'));
    await this.#running;
  }

  async #releaseAll(): Promise<void> {
    const {
      source,
      store: { artifacts },
    } = this.#options;
    let digests = artifacts.unused(BATCH);
    if (digests.length === 0) return;
    for (; digests.length > 0; digests = artifacts.unused(BATCH)) {
      await source.releaseArtifacts?.(digests, AbortSignal.any([this.#stop.signal, AbortSignal.timeout(DEADLINE_MS)]));
      this.#stop.signal.throwIfAborted(); // the tables may be closed
      artifacts.forget(digests);
    }
    this.#options.store.compact();
  }
}
