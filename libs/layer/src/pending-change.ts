import type { BlobSourceChange } from './blob-source.ts';

/** Hosts that are told apart; of more it is only remembered that there was a change. */
const MAX_HOSTS = 256;

/** Changes that nobody has seen to yet, as one. */
export class PendingChange {
  readonly #hosts = new Set<string>();
  #isAny = false;

  add({ hosts }: BlobSourceChange): void {
    for (const host of hosts ?? []) this.#hosts.add(host);
    this.#isAny ||= hosts === undefined || this.#hosts.size > MAX_HOSTS;
    if (this.#isAny) this.#hosts.clear();
  }

  /** Takes all of them; undefined when there was none. */
  take(): BlobSourceChange | undefined {
    const hosts = [...this.#hosts];
    const isAny = this.#isAny;
    this.#hosts.clear();
    this.#isAny = false;
    if (isAny) return {};
    return hosts.length === 0 ? undefined : { hosts };
  }
}
