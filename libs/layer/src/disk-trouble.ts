import type { Logger } from '@soci/log';

export interface DiskTroubleOptions {
  readonly log: Logger;
  readonly now: () => number;
}

/** For that long after a failure nothing is written that nobody waits for. */
const PAUSE_MS = 5_000;

/** A disk that takes nothing, told of once when it begins and once when it is over, however many spans fail meanwhile. */
export class DiskTrouble {
  readonly #options: DiskTroubleOptions;
  #failures = 0;
  #failedAtMs = -Infinity;

  constructor(options: DiskTroubleOptions) {
    this.#options = options;
  }

  /** A write failed lately. */
  get isRecent(): boolean {
    return this.#options.now() - this.#failedAtMs < PAUSE_MS;
  }

  failed(layerDigest: string, error: unknown): void {
    this.#failedAtMs = this.#options.now();
    if (this.#failures++ === 0)
      this.#options.log.error({ layerDigest, error }, 'layer data cannot be stored: reads of what is missing fail until it can');
  }

  worked(): void {
    if (this.#failures === 0) return;
    this.#options.log.info({ failures: this.#failures }, 'layer data can be stored again');
    this.#failures = 0;
    this.#failedAtMs = -Infinity;
  }
}
