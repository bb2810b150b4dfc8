export interface BackOffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
  /** From 0 to 1. */
  readonly random?: () => number;
}

/** Waiting times that double up to a limit, each shortened by up to a half, so that many nodes do not come at once. */
export class BackOff {
  readonly #options: Required<BackOffOptions>;
  #nextMs: number;

  constructor(options: BackOffOptions) {
    this.#options = { random: () => Math.random(), ...options };
    this.#nextMs = options.firstMs;
  }

  next(): number {
    const delayMs = this.#nextMs * (1 - this.#options.random() / 2);
    this.#nextMs = Math.min(this.#nextMs * 2, this.#options.maxMs);
    return delayMs;
  }

  reset(): void {
    this.#nextMs = this.#options.firstMs;
  }
}
