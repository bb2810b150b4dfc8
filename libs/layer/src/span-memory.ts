import { ByteBudget } from './byte-budget.ts';
import { blobLength, dataLength, type SpanIndex } from './span-index.ts';

/** Twenty spans of the usual 4 MiB: more than one thread inflates while they arrive. */
const MAX_BYTES = 128 << 20;
/** Larger spans have room of their own, so that the others do not wait for them; there is no other limit to what a zTOC may ask for than that of one span. */
const LARGE_BYTES = 32 << 20;

/** How much memory spans hold that are on their way, of all layers: each its bytes as they come and as they are inflated, from the first one on. */
export class SpanMemory {
  readonly #usual: ByteBudget;
  readonly #large: ByteBudget;
  readonly #largeBytes: number;

  constructor({ maxBytes = MAX_BYTES, largeBytes = LARGE_BYTES } = {}) {
    this.#usual = new ByteBudget(maxBytes);
    this.#large = new ByteBudget(maxBytes);
    this.#largeBytes = largeBytes;
  }

  get heldBytes(): number {
    return this.#usual.heldBytes + this.#large.heldBytes;
  }

  /** @throws the signal's reason, while it waits */
  enter(index: SpanIndex, span: number, signal: AbortSignal): Disposable | Promise<Disposable> {
    const bytes = blobLength(index, span) + dataLength(index, span);
    return (bytes > this.#largeBytes ? this.#large : this.#usual).enter(bytes, signal);
  }
}
