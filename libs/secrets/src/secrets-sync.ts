import { setTimeout as sleep } from 'node:timers/promises';
import { KeychainError, type PullSecretSource } from '@soci/keychain';
import type { Logger } from '@soci/log';
import type { Metrics } from '@soci/metrics';
import { ApiProblems, type ApiProblem } from './api-problems.ts';
import { ApiSession } from './api-session.ts';
import type { ApiTarget } from './api-target.ts';
import { SecretsError } from './errors.ts';
import { Kubeconfig } from './kubeconfig.ts';
import { scopesOf, type Scope } from './scope.ts';
import { registerSyncMetrics, SyncCounters } from './sync-counters.ts';
import { DEFAULT_TIMINGS, type SyncTimings } from './timings.ts';

export interface SecretsSyncOptions {
  /** Filled with what the API server has. Nobody else may fill it. */
  readonly source: PullSecretSource;
  /** As configured; empty for the usual search: `$KUBECONFIG`, `$HOME/.kube/config`, the service account of the pod. */
  readonly kubeconfigPath: string;
  /** Namespaces to follow; none: all. */
  readonly namespaces: readonly string[];
  /** The service's own environment: for the search, and for a login program. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** For the User-Agent header. */
  readonly userAgent: string;
  /** Proxy for a URL where the kubeconfig names none; left out: none. */
  readonly proxyFor?: (url: URL) => string | undefined;
  readonly log: Logger;
  readonly metrics?: Metrics;
  readonly nowMs?: () => number;
  readonly timings?: Partial<SyncTimings>;
  /** User ids that may own a kubeconfig; root and the user we run as by default. */
  readonly owners?: readonly number[];
  readonly serviceAccountDirectory?: string;
}

/** For people and for health checks. */
export interface SecretsState {
  /** `off`: there is nothing to follow. `failed`: the kubeconfig is not to be trusted. */
  readonly kind: 'off' | 'syncing' | 'synced' | 'failed';
  /** Number of secrets held. */
  readonly secrets: number;
  /** When this kind of state began, in milliseconds of the wall clock. */
  readonly sinceMs: number;
  /** Where the login comes from: path of a kubeconfig, or `in-cluster`. */
  readonly origin: string | undefined;
  /** Address of the API server. */
  readonly server: string | undefined;
  /** What is wrong at present; a synced source goes on with what it has. */
  readonly problem: string | undefined;
  /** The last thing that was wrong with the API server. */
  readonly lastError: ApiProblem | undefined;
}

/**
 * Fills a source with the pull secrets of a Kubernetes cluster and keeps it so: list and watch of both types of secrets, with whatever kubeconfig is there at the time.
 * A kubeconfig that changes counts within seconds. What was read stays in use while the API server is away.
 */
export class SecretsSync implements AsyncDisposable {
  readonly #options: SecretsSyncOptions & { readonly nowMs: () => number };
  readonly #timings: SyncTimings;
  readonly #scopes: readonly Scope[];
  readonly #kubeconfig: Kubeconfig;
  readonly #problems: ApiProblems;
  readonly #counters = new SyncCounters();
  readonly #listeners = new Set<(state: SecretsState) => void>();
  readonly #stop = new AbortController();
  #following: Promise<void> | undefined;
  #session: ApiSession | undefined;
  /** Whose secrets the source holds. */
  #lastServer: string | undefined;
  #kind: SecretsState['kind'] = 'syncing';
  #sinceMs: number;
  #kubeconfigProblem: string | undefined;
  #saidOfKubeconfig = '';

  /** @throws {SecretsError} `CONFIG_INVALID` */
  constructor(options: SecretsSyncOptions) {
    this.#options = { nowMs: () => Date.now(), ...options };
    this.#timings = { ...DEFAULT_TIMINGS, ...options.timings };
    this.#scopes = scopesOf(options.namespaces);
    this.#sinceMs = this.#options.nowMs();
    const { source, log, env, metrics, owners, serviceAccountDirectory } = options;
    this.#kubeconfig = new Kubeconfig({
      path: options.kubeconfigPath,
      env,
      log,
      ...(owners === undefined ? {} : { owners }),
      ...(serviceAccountDirectory === undefined ? {} : { serviceAccountDirectory }),
    });
    this.#problems = new ApiProblems({
      log,
      nowMs: this.#options.nowMs,
      onChange: () => source.reportProblem(this.#problems.current),
    });
    if (metrics !== undefined)
      registerSyncMetrics(
        metrics,
        this.#counters,
        () => source.size,
        () => source.isSynced,
      );
  }

  /** Begins; returns at once. */
  start(): void {
    this.#following ??= this.#follow(this.#stop.signal);
  }

  get state(): SecretsState {
    return {
      kind: this.#kind,
      secrets: this.#options.source.size,
      sinceMs: this.#sinceMs,
      origin: this.#session?.target.origin,
      server: this.#session?.target.server.url,
      problem: this.#kubeconfigProblem ?? this.#problems.current,
      lastError: this.#problems.last,
    };
  }

  /** Calls back whenever the kind of state is another, until disposed of. */
  onChange(listener: (state: SecretsState) => void): Disposable {
    const own = (state: SecretsState): void => listener(state);
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('secrets are not followed any more'));
    await this.#following;
  }

  async #follow(signal: AbortSignal): Promise<void> {
    try {
      for (;;) {
        await this.#look(signal);
        await sleep(this.#timings.kubeconfigEveryMs, undefined, { signal });
      }
    } catch (error) {
      if (!signal.aborted) this.#options.log.error({ error }, 'kubernetes secrets are not followed any more');
    } finally {
      await this.#endSession();
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    try {
      const target = await this.#kubeconfig.read(signal);
      if (target !== undefined) await this.#use(target);
      this.#kubeconfigProblem = undefined;
      this.#saidOfKubeconfig = '';
    } catch (error) {
      signal.throwIfAborted();
      // Whatever it is, the next look may find it mended.
      const failure =
        error instanceof SecretsError ? error : new SecretsError('KUBECONFIG_INVALID', 'kubeconfig cannot be used', { cause: error });
      await this.#kubeconfigFails(failure);
    }
  }

  /** Follows another server, or the same with another login. What is held of the same server stays until the new lists are there. */
  async #use(target: ApiTarget): Promise<void> {
    const { source, env, userAgent, proxyFor, log } = this.#options;
    await this.#endSession();
    this.#problems.clear();
    if (this.#lastServer !== undefined && this.#lastServer !== target.server.url) source.reset();
    this.#lastServer = target.server.url;
    source.setFailed(undefined);
    source.setOff(undefined);
    source.reportProblem(undefined);
    if (target.server.isInsecure) log.warn({ server: target.server.url }, 'the certificate of the kubernetes api is not checked');
    log.info({ origin: target.origin, server: target.server.url, namespaces: this.#options.namespaces }, 'following kubernetes secrets');
    this.#enter(source.isSynced ? 'synced' : 'syncing');
    const startedMs = performance.now();
    this.#session = new ApiSession({
      target,
      scopes: this.#scopes,
      source,
      env,
      userAgent,
      ...(proxyFor === undefined ? {} : { proxyFor }),
      problems: this.#problems,
      counters: this.#counters,
      timings: this.#timings,
      log,
      onSynced: () => {
        source.markSynced();
        log.info({ secrets: source.size, durationMs: Math.round(performance.now() - startedMs) }, 'kubernetes secrets synced');
        this.#enter('synced');
      },
    });
  }

  async #kubeconfigFails(error: SecretsError): Promise<void> {
    const { source, log } = this.#options;
    this.#kubeconfigProblem = error.message;
    if (error.message !== this.#saidOfKubeconfig) {
      this.#saidOfKubeconfig = error.message;
      log.warn({ error, isInUse: this.#session !== undefined }, 'kubeconfig not usable, will look again');
    }
    if (error.code === 'KUBECONFIG_UNTRUSTED') {
      await this.#endSession();
      if (this.#kind !== 'failed')
        source.setFailed(new KeychainError('SOURCE_UNTRUSTED', `${source.name}: ${error.message}`, { cause: error }));
      this.#enter('failed');
    } else if (this.#session === undefined) {
      source.setFailed(undefined);
      source.setOff(error.message);
      this.#enter('off');
    } // else: an edit that goes wrong, or a file that is being replaced, does not end what works
  }

  async #endSession(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    await session?.[Symbol.asyncDispose]();
  }

  #enter(kind: SecretsState['kind']): void {
    if (kind === this.#kind) return;
    this.#kind = kind;
    this.#sinceMs = this.#options.nowMs();
    const { state } = this;
    for (const listener of this.#listeners) listener(state);
  }
}
