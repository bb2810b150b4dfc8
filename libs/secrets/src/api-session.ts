import type { PullSecretSource } from '@soci/keychain';
import { Turnstile } from '@soci/process';
import type { Logger } from '@soci/log';
import { ApiClient } from './api-client.ts';
import { ApiLogin } from './api-login.ts';
import type { ApiProblems } from './api-problems.ts';
import type { ApiTarget } from './api-target.ts';
import type { Scope } from './scope.ts';
import { SecretFeed } from './secret-feed.ts';
import type { SyncCounters } from './sync-counters.ts';
import type { SyncTimings } from './timings.ts';

export interface ApiSessionOptions {
  readonly target: ApiTarget;
  readonly scopes: readonly Scope[];
  readonly source: PullSecretSource;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly userAgent: string;
  readonly proxyFor?: (url: URL) => string | undefined;
  readonly problems: ApiProblems;
  readonly counters: SyncCounters;
  readonly timings: SyncTimings;
  readonly log: Logger;
  /** Every scope has been listed; called once. */
  readonly onSynced: () => void;
}

/** Lists are what takes memory: a page is up to 8 MiB. */
const MAX_PARALLEL_LISTS = 4;

/** Follows one API server with one login, until it is disposed of. */
export class ApiSession implements AsyncDisposable {
  readonly target: ApiTarget;
  readonly #stop = new AbortController();
  readonly #api: ApiClient;
  readonly #ended: Promise<unknown>;

  constructor(options: ApiSessionOptions) {
    const { target, scopes, env, userAgent, proxyFor, source, problems, counters, timings, log, onSynced } = options;
    this.target = target;
    const login = new ApiLogin({ target, env });
    this.#api = new ApiClient({ target, login, userAgent, log, ...(proxyFor === undefined ? {} : { proxyFor }) });
    const lists = new Turnstile(MAX_PARALLEL_LISTS);
    const unlisted = new Set(scopes);
    const feeds = scopes.map((scope) => {
      const onListed = (): void => {
        if (unlisted.delete(scope) && unlisted.size === 0) onSynced();
      };
      return new SecretFeed({ scope, api: this.#api, source, problems, counters, lists, timings, onListed });
    });
    this.#ended = Promise.allSettled(feeds.map((feed) => feed.run(this.#stop.signal)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('not followed any more'));
    await this.#ended;
    await this.#api[Symbol.asyncDispose]();
  }
}
