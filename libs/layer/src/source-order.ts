import { hasCode } from '@soci/errors';
import type { LayerSource } from './layer-source.ts';

/** A reference that was refused is asked first again after that, or when something changed. */
const REFUSED_MS = 60_000;

/** In which order the images of a layer are asked: newest first, those behind the others that would not give it lately. */
export class SourceOrder {
  readonly #refusedAtMs = new Map<string, number>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Whether a source was refused, and goes behind the others for that. */
  get hasRefused(): boolean {
    return this.#refusedAtMs.size > 0;
  }

  /** @param sources newest first; of the refused ones the one goes first that was asked the longest time ago */
  inOrder(sources: readonly LayerSource[]): readonly LayerSource[] {
    if (this.#refusedAtMs.size === 0) return sources;
    this.#forgetOld(sources);
    const refusedAtMs = ({ reference }: LayerSource): number => this.#refusedAtMs.get(reference) ?? -Infinity;
    // Subtracting infinities gives no number.
    return sources.toSorted((a, b) => (refusedAtMs(a) === refusedAtMs(b) ? 0 : refusedAtMs(a) - refusedAtMs(b)));
  }

  /** A request failed: where the registry said no, and not that it has trouble, it will say so again. */
  failed({ reference }: LayerSource, error: unknown): void {
    if (hasCode(error, 'UNAUTHORIZED', 'DENIED', 'NOT_FOUND')) this.#refusedAtMs.set(reference, this.#now());
  }

  /** What was refused may be given now. */
  reset(): void {
    this.#refusedAtMs.clear();
  }

  #forgetOld(sources: readonly LayerSource[]): void {
    const since = this.#now() - REFUSED_MS;
    for (const [reference, atMs] of this.#refusedAtMs) {
      if (atMs < since || !sources.some((source) => source.reference === reference)) this.#refusedAtMs.delete(reference);
    }
  }
}
