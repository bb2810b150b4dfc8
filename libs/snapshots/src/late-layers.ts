import { SnapshotError } from './errors.ts';
import type { LazyLayers, LazyOutcome, LazyRequest, LazySnapshot } from './lazy-layers.ts';
import { orAborted } from './or-aborted.ts';
import type { SnapshotRecord } from './snapshot.ts';

/** Layers that are still being opened: the kernel is tried out, FUSE is mounted. What needs them waits until they are; everything else is answered meanwhile. */
export class LateLayers implements LazyLayers {
  readonly #opening: Promise<LazyLayers>;

  constructor(opening: Promise<LazyLayers>) {
    this.#opening = opening;
    opening.catch(() => undefined); // told to whoever waits for them
  }

  async prepare(request: LazyRequest, signal: AbortSignal): Promise<LazyOutcome> {
    const layers = await this.#opened(signal);
    return await layers.prepare(request, signal);
  }

  async remove(snapshotId: number): Promise<void> {
    const layers = await this.#opened();
    await layers.remove(snapshotId);
  }

  forgotten(record: SnapshotRecord): void {
    void this.#opening.then(
      (layers) => layers.forgotten(record),
      () => undefined, // the next start finds out by itself
    );
  }

  async cleanup(signal: AbortSignal): Promise<void> {
    const layers = await this.#opened(signal);
    await layers.cleanup(signal);
  }

  async ensureMounted(snapshot: LazySnapshot, signal: AbortSignal): Promise<void> {
    const layers = await this.#opened(signal);
    await layers.ensureMounted(snapshot, signal);
  }

  async #opened(signal?: AbortSignal): Promise<LazyLayers> {
    try {
      return await (signal === undefined ? this.#opening : orAborted(this.#opening, signal));
    } catch (cause) {
      signal?.throwIfAborted();
      throw new SnapshotError('UNAVAILABLE', 'layers cannot be opened', { cause });
    }
  }
}
