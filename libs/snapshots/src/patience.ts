import { setTimeout as sleep } from 'node:timers/promises';
import type { BlobSource } from '@soci/layer';

/** A source may become ready without a word. */
const ASK_AGAIN_MS = 1_000;
/** Between two tries at least, however often there is word of a change. */
const MIN_PAUSE_MS = 50;

/** A wait that several tries share: between them it lasts until something changes, or for a moment; in all no longer than was given. */
export class Patience implements Disposable {
  readonly #waitMs: number;
  readonly #subscription: Disposable | undefined;
  #untilMs: number | undefined;
  #hasChanged = false;
  #wake = (): void => undefined;

  constructor(source: Pick<BlobSource, 'onChange'>, waitMs: number) {
    this.#waitMs = waitMs;
    this.#subscription = source.onChange?.(() => {
      this.#hasChanged = true;
      this.#wake();
    });
  }

  /** Waits for a better moment; false when there is no patience left. It begins to run out with the first call. @throws the signal's reason */
  async wait(signal: AbortSignal): Promise<boolean> {
    const nowMs = performance.now();
    this.#untilMs ??= nowMs + this.#waitMs;
    const leftMs = this.#untilMs - nowMs;
    if (leftMs <= 0) return false;
    await pause(Math.min(leftMs, MIN_PAUSE_MS), signal);
    const change = new AbortController();
    this.#wake = (): void => change.abort();
    if (!this.#hasChanged) await pause(Math.min(leftMs, ASK_AGAIN_MS) - MIN_PAUSE_MS, signal, change.signal);
    this.#hasChanged = false;
    return true;
  }

  [Symbol.dispose](): void {
    this.#subscription?.[Symbol.dispose]();
  }
}

/** @param early ends the pause as if it were over */
async function pause(ms: number, signal: AbortSignal, early?: AbortSignal): Promise<void> {
  if (ms <= 0) return;
  try {
    await sleep(ms, undefined, { signal: early === undefined ? signal : AbortSignal.any([signal, early]) });
  } catch (cause) {
    signal.throwIfAborted();
    if (early?.aborted !== true) throw cause;
  }
}
