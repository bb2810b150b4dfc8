import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '@soci/errors';
import type { PullSecretSource } from '@soci/keychain';
import { BackOff, type Turnstile } from '@soci/process';
import type { ApiClient } from './api-client.ts';
import type { ApiProblems, Verb } from './api-problems.ts';
import { SecretsError } from './errors.ts';
import { listPages } from './list-pages.ts';
import type { Scope } from './scope.ts';
import { readSecret } from './secret-object.ts';
import type { SyncCounters } from './sync-counters.ts';
import type { SyncTimings } from './timings.ts';
import { watchEvents, type WatchEvent } from './watch-events.ts';

export interface SecretFeedOptions {
  readonly scope: Scope;
  readonly api: ApiClient;
  readonly source: PullSecretSource;
  readonly problems: ApiProblems;
  readonly counters: SyncCounters;
  /** Lists at the same time. */
  readonly lists: Turnstile;
  readonly timings: SyncTimings;
  /** A list is complete. */
  readonly onListed: () => void;
}

/** A watch that lasted this long was a good one. */
const GOOD_WATCH_MS = 1_000;

/** Keeps the secrets of one scope as the API server has them: lists once, then follows the changes, and lists again where it cannot be sure of having seen all. */
export class SecretFeed {
  readonly #options: SecretFeedOptions;
  readonly #failures: BackOff;
  readonly #refusals: BackOff;
  /** Of what the source holds; undefined: to be listed. */
  #version: string | undefined;
  #hasSeenBookmark = false;

  constructor(options: SecretFeedOptions) {
    this.#options = options;
    const { retryFirstMs, retryMaxMs, deniedFirstMs, deniedMaxMs } = options.timings;
    this.#failures = new BackOff({ firstMs: retryFirstMs, maxMs: retryMaxMs });
    this.#refusals = new BackOff({ firstMs: deniedFirstMs, maxMs: deniedMaxMs });
  }

  /** Until the signal; rejects with its reason. */
  async run(signal: AbortSignal): Promise<never> {
    for (;;) {
      const delayMs = this.#version === undefined ? await this.#list(signal) : await this.#watch(this.#version, signal);
      if (delayMs > 0) await sleep(delayMs, undefined, { signal });
    }
  }

  /** @returns how long to wait before going on */
  async #list(signal: AbortSignal): Promise<number> {
    const { scope, api, source, counters, lists, onListed } = this.#options;
    const { type, namespace } = scope;
    try {
      using held = new DisposableStack();
      held.use(await lists.enter(signal));
      const list = held.use(source.beginList(namespace === undefined ? { type } : { type, namespace }));
      let version = '';
      for await (const page of listPages(api, scope, signal)) {
        for (const item of page.items) {
          const read = readSecret(item, type);
          if (read === undefined) counters.ignored++;
          else list.put(read.secret);
        }
        version = page.version;
      }
      list.commit();
      this.#version = version;
      counters.lists++;
      this.#worked('list');
      onListed();
      return 0;
    } catch (error) {
      signal.throwIfAborted();
      return this.#failed('list', error);
    }
  }

  /** @returns how long to wait before going on */
  async #watch(version: string, signal: AbortSignal): Promise<number> {
    const { scope, api, timings } = this.#options;
    const serverTimeoutSec = Math.ceil((timings.watchMs * (1 + Math.random() / 2)) / 1_000);
    const idleTimeoutMs = this.#hasSeenBookmark ? timings.bookmarkIdleMs : serverTimeoutSec * 1_000 + timings.slackMs;
    let openedAt: number | undefined;
    const onOpen = (): void => {
      openedAt = performance.now();
      this.#worked('watch');
    };
    try {
      for await (const event of watchEvents(
        api,
        scope,
        { version, serverTimeoutSec, idleTimeoutMs, slackMs: timings.slackMs, onOpen },
        signal,
      ))
        this.#take(event);
      return this.#watchEnded(openedAt);
    } catch (error) {
      signal.throwIfAborted();
      return this.#watchFailed(error, openedAt);
    }
  }

  #take(event: WatchEvent): void {
    const { scope, source, counters } = this.#options;
    if (event.kind === 'bookmark') {
      this.#hasSeenBookmark = true;
      counters.events.bookmark++;
      this.#advance(event.version);
      return;
    }
    const read = readSecret(event.object, scope.type);
    if (read === undefined) {
      counters.ignored++;
      return;
    }
    counters.events[event.kind]++;
    if (event.kind === 'changed') source.put(read.secret);
    else source.remove(read.secret.namespace, read.secret.name, scope.type);
    this.#advance(read.version);
  }

  #advance(version: string | undefined): void {
    if (version === undefined) return;
    // A server that has gone back in time, as after a restored backup, may have sent more of that kind before.
    if (this.#version !== undefined && isOlder(version, this.#version))
      throw new SecretsError('GONE', 'the API server counts its versions anew');
    this.#version = version;
  }

  #watchEnded(openedAt: number | undefined): number {
    if (openedAt !== undefined && performance.now() - openedAt >= GOOD_WATCH_MS) {
      this.#settle();
      return 0;
    }
    return this.#failures.next();
  }

  #watchFailed(error: unknown, openedAt: number | undefined): number {
    const { scope, api, problems, counters, timings } = this.#options;
    if (openedAt !== undefined && performance.now() - openedAt >= GOOD_WATCH_MS) this.#settle();
    if (hasCode(error, 'GONE')) {
      counters.relists.gone++;
      this.#version = undefined;
      return this.#failures.next();
    }
    if (openedAt === undefined && hasCode(error, 'DENIED')) {
      counters.relists.unwatched++;
      this.#version = undefined;
      problems.report(scope, 'watch', error);
      return timings.relistMs * (1 - Math.random() / 2);
    }
    if (openedAt === undefined && hasCode(error, 'UNREACHABLE', 'API_FAILED')) {
      // It was away, or is behind a balancer that says so. Who comes up again may have another history, and nothing in a watch would tell.
      counters.relists.outage++;
      this.#version = undefined;
    } else if (hasCode(error, 'ANSWER_TOO_LARGE', 'ANSWER_INVALID')) {
      counters.relists.broken++;
      this.#version = undefined;
    } else if (openedAt !== undefined) {
      api.distrust();
      return this.#failures.next(); // cut, which is nothing to speak of: the next try shows whether more is wrong
    }
    return this.#failed('watch', error);
  }

  #failed(verb: Verb, error: unknown): number {
    const { scope, api, problems, counters } = this.#options;
    const failure = error instanceof SecretsError ? error : new SecretsError('API_FAILED', `${verb}: failed`, { cause: error });
    counters.failed(failure.code);
    if (failure.code === 'UNREACHABLE') api.distrust();
    problems.report(scope, verb, failure);
    const isRefused = hasCode(failure, 'UNAUTHORIZED', 'DENIED');
    const delayMs = isRefused ? this.#refusals.next() : this.#failures.next();
    return Math.max(delayMs, failure.retryAfterMs ?? 0);
  }

  #worked(verb: Verb): void {
    this.#options.problems.solved(this.#options.scope, verb);
  }

  #settle(): void {
    this.#failures.reset();
    this.#refusals.reset();
  }
}

/** Versions are numbers in every server there is; of two that are not, nothing is known. */
function isOlder(a: string, b: string): boolean {
  const isNumber = /^[0-9]{1,30}$/;
  return isNumber.test(a) && isNumber.test(b) && BigInt(a) < BigInt(b);
}
