import type { FlatFuse, Miss } from '@soci/fuse';
import { roundUp } from '../layer-data.ts';
import { PROBE_FILES, type ProbeFile, type ProbeLayer } from './probe-image.ts';

/** Stands for the layer engine: answers from memory, refuses one file, or lets the reads of one wait. */
export class ProbeAnswers {
  readonly #layer: ProbeLayer;
  readonly #early: Miss[] = [];
  readonly #held: Miss[] = [];
  #fuse: FlatFuse | undefined;
  #failing: ProbeFile | undefined;
  #holding: { readonly file: ProbeFile; readonly asked: () => void } | undefined;

  constructor(layer: ProbeLayer) {
    this.#layer = layer;
  }

  /** Misses may come before the mount is known. */
  readonly take = (miss: Miss): void => {
    if (this.#fuse === undefined) this.#early.push(miss);
    else this.#answer(this.#fuse, miss);
  };

  start(fuse: FlatFuse): void {
    this.#fuse = fuse;
    for (const miss of this.#early.splice(0)) this.take(miss);
  }

  fail(file: ProbeFile): void {
    this.#failing = file;
  }

  succeed(): void {
    this.#failing = undefined;
  }

  /** Lets reads of a file wait. @returns when the first one does */
  async hold(file: ProbeFile, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#holding = { file, asked: () => resolve(undefined) };
    const abort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', abort, { once: true });
    await promise.finally(() => signal.removeEventListener('abort', abort));
  }

  release(): void {
    this.#holding = undefined;
    for (const miss of this.#held.splice(0)) this.take(miss);
  }

  #answer(fuse: FlatFuse, miss: Miss): void {
    const { uniqueLow, uniqueHigh, offsetBytes, sizeBytes } = miss;
    if (this.#holding !== undefined && this.#touches(this.#holding.file, miss)) {
      this.#held.push(miss);
      this.#holding.asked();
    } else if (this.#failing !== undefined && this.#touches(this.#failing, miss)) {
      fuse.replyError(uniqueLow, uniqueHigh);
    } else {
      const { bytes } = this.#layer;
      const data = bytes.subarray(offsetBytes, offsetBytes + sizeBytes);
      const zeros = new Uint8Array(
        Math.max(0, Math.min(offsetBytes + sizeBytes, roundUp(bytes.length)) - Math.max(offsetBytes, bytes.length)),
      );
      fuse.reply(uniqueLow, uniqueHigh, [data, zeros]);
    }
  }

  #touches(file: ProbeFile, { offsetBytes, sizeBytes }: Miss): boolean {
    const span = PROBE_FILES.indexOf(file);
    const [start = 0, end = 0] = this.#layer.spanStartBytes.slice(span, span + 2);
    return offsetBytes < end && offsetBytes + sizeBytes > start;
  }
}
