import { setTimeout as sleep } from 'node:timers/promises';
import { BusError, type Bus } from '@soci/bus';
import type { ImageReference } from '@soci/image';
import { BoundedMap, registryOf, type SourceChange } from '@soci/keychain';
import type { Logger } from '@soci/log';
import { LookupError } from './errors.ts';
import { MAX_REFERENCES } from './messages.ts';
import { namespacesMethod, type Pulls } from './methods.ts';
import type { BusCredentialSource } from './bus-credential-source.ts';

export interface RemoteNamespacesOptions {
  readonly bus: Bus;
  /** Of pulls: its changes say when namespaces have come. */
  readonly source: Pick<BusCredentialSource, 'onChange'>;
  readonly log: Logger;
}

const MAX_KNOWN = 4_096;
const ASK_AGAIN_MS = 250;

interface Known {
  readonly reference: ImageReference;
  readonly pulls: Pulls;
}

/** Which Kubernetes namespaces pulled an image, as the service that sees pulls knows it. Asked for when an image is prepared; after that the answer is at hand, and is brought up to date when pulls come. */
export class RemoteNamespaces implements Disposable {
  readonly #options: RemoteNamespacesOptions;
  readonly #known = new BoundedMap<string, Known>(MAX_KNOWN);
  readonly #stale = new Map<string, ImageReference>();
  readonly #subscription: Disposable;
  readonly #stop = new AbortController();
  #isRefreshing = false;

  constructor(options: RemoteNamespacesOptions) {
    this.#options = options;
    this.#subscription = options.source.onChange((change) => this.#onChange(change));
  }

  /** What was learnt last, from memory alone: it can stand on a read's path. None where `learn` was not called. */
  of(reference: ImageReference, pulls: 'running-or-succeeded' | 'succeeded' = 'running-or-succeeded'): readonly string[] {
    const known = this.#known.get(reference.canonical())?.pulls;
    if (known === undefined) return [];
    return pulls === 'succeeded' ? known.succeeded : known.runningOrSucceeded;
  }

  /**
   * Asks, again and again until there is an answer. None known and not answered are not the same: the one lets an image have every secret of the node.
   * @throws {LookupError} `NOT_READY` when there is none in time; the signal's reason
   */
  async learn(references: readonly ImageReference[], signal: AbortSignal, waitMs = 10_000): Promise<void> {
    const deadline = performance.now() + waitMs;
    for (let i = 0; i < references.length; i += MAX_REFERENCES) {
      const some = references.slice(i, i + MAX_REFERENCES);
      for (;;) {
        const problem = await this.#ask(some, signal);
        if (problem === undefined) break;
        if (performance.now() + ASK_AGAIN_MS > deadline)
          throw new LookupError('NOT_READY', 'who pulled an image is not known', { cause: problem });
        await sleep(ASK_AGAIN_MS, undefined, { signal });
      }
    }
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#subscription[Symbol.dispose]();
  }

  /** @returns what kept it from being answered */
  async #ask(references: readonly ImageReference[], signal: AbortSignal): Promise<BusError | undefined> {
    let all: readonly Pulls[];
    try {
      all = await this.#options.bus.request(namespacesMethod, references, signal);
    } catch (error) {
      if (error instanceof BusError) return error;
      throw error;
    }
    if (all.length !== references.length) return new BusError('INVALID', 'namespaces: not as many as were asked for');
    references.forEach((reference, i) => {
      const pulls = all[i];
      if (pulls !== undefined) this.#known.set(reference.canonical(), { reference, pulls });
    });
    return undefined;
  }

  #onChange({ hosts }: SourceChange): void {
    for (const [key, { reference }] of this.#known.entries()) {
      if (hosts?.some((host) => registryOf(host) === registryOf(reference.host)) ?? true) this.#stale.set(key, reference);
    }
    void this.#refresh(); // it reports and never rejects
  }

  async #refresh(): Promise<void> {
    if (this.#isRefreshing) return;
    this.#isRefreshing = true;
    try {
      while (this.#stale.size > 0) {
        const some = [...this.#stale].slice(0, MAX_REFERENCES);
        for (const [key] of some) this.#stale.delete(key);
        const problem = await this.#ask(
          some.map(([, reference]) => reference),
          this.#stop.signal,
        );
        if (problem === undefined) continue;
        for (const [key, reference] of some) this.#stale.set(key, reference); // the source says when it can be asked again
        return;
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#options.log.warn({ error }, 'namespaces of images not brought up to date');
    } finally {
      this.#isRefreshing = false;
    }
  }
}
