import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls';
import { hasCode } from '@soci/errors';
import { LRUCache } from 'lru-cache';
import { Agent, buildConnector, ProxyAgent, type Dispatcher } from 'undici';
import { boundedLookup, guardedLookup } from './addresses.ts';
import type { Connection } from './connection.ts';
import { RegistryError } from './errors.ts';
import { Exchange } from './exchange.ts';
import type { HttpOptions } from './http-options.ts';
import { ProxyRules, type ProxyOptions } from './proxy.ts';
import { SourceFailure } from './push-source.ts';
import type { HttpRequest, HttpResponse, Transport } from './transport.ts';

export interface UndiciTransportOptions {
  readonly http: HttpOptions;
  readonly proxy?: ProxyOptions;
  /** Authorities to trust besides those of the operating system and of Node, PEM. */
  readonly extraCa?: readonly string[];
  /** Hosts whose certificate is not checked. */
  readonly insecureTls?: (host: string) => boolean;
}

/** What went to a host and came back, since the start. */
export interface HostStats {
  /** Requests sent, repeats counted. */
  readonly requests: number;
  /** Bytes of bodies received. */
  readonly bytes: number;
}

const MAX_HOSTS_COUNTED = 256;
/** Kinds of connections; of those not used for the longest time the open ones are closed when they are idle. */
const MAX_ROUTES = 128;
const KEEP_ALIVE_MS = 30_000;
const TIMEOUT_CODES = ['UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT', 'ETIMEDOUT'];

/** How a connection is made; each kind has connections of its own. */
interface Route {
  readonly proxy: string | undefined;
  readonly isInsecure: boolean;
  readonly isGuarded: boolean;
  readonly connection: Connection | undefined;
}

/**
 * HTTP/1.1 over undici. Not HTTP/2: parallel reads of one layer would share one connection's window, and over a long way that costs more than handshakes do.
 * undici's own `RetryAgent` is not used: a repeat here may need a fresh token, another candidate or a fresh storage address, and the rest of a body has to be asked for exactly.
 */
export class UndiciTransport implements Transport {
  readonly #options: UndiciTransportOptions;
  readonly #proxies: ProxyRules;
  readonly #dispatchers = new LRUCache<string, Dispatcher>({
    max: MAX_ROUTES,
    dispose: (dispatcher, _, reason) => {
      if (reason === 'evict') void dispatcher.close().catch(() => undefined); // nobody waits for it; requests under way end first
    },
  });
  readonly #stats = new LRUCache<string, { requests: number; bytes: number }>({ max: MAX_HOSTS_COUNTED });
  #secureContext: SecureContext | undefined;

  constructor(options: UndiciTransportOptions) {
    this.#options = options;
    this.#proxies = new ProxyRules(options.proxy ?? {});
  }

  /** By host, of the hosts used last. */
  get stats(): ReadonlyMap<string, HostStats> {
    return new Map([...this.#stats.entries()].map(([host, stats]) => [host, { ...stats }]));
  }

  async send(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    signal.throwIfAborted();
    const { http } = this.#options;
    const { method, url } = request;
    const stats = this.#count(url.host);
    const headersTimeout = request.responseHeaderTimeoutMs ?? http.responseHeaderTimeoutMs;
    const requestTimeoutMs = request.requestTimeoutMs ?? http.requestTimeoutMs;
    const exchange = new Exchange({
      signal,
      timeoutMs: request.unlimited === true ? 0 : requestTimeoutMs,
      timeoutError: () => new RegistryError('TIMEOUT', `${url.host}: not done within ${requestTimeoutMs} ms`),
      progress: { bytes: http.progressBytes, withinMs: http.progressMs },
      progressError: () =>
        new RegistryError('TIMEOUT', `${url.host}: less than ${http.progressBytes} bytes of a body within ${http.progressMs} ms`),
      toError: (error) => networkError(url.host, error),
      count: (bytes) => (stats.bytes += bytes),
    });
    const body = request.body === undefined ? {} : { body: request.body as unknown as NonNullable<Dispatcher.DispatchOptions['body']> };
    try {
      this.#dispatcherFor(request).dispatch(
        {
          origin: url.origin,
          path: url.pathname + url.search,
          method,
          headers: request.headers,
          headersTimeout,
          bodyTimeout: http.bodyStallTimeoutMs,
          ...body,
        },
        exchange,
      );
    } catch (error) {
      exchange.fail(error as Error);
    }
    return exchange.head;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const open = [...this.#dispatchers.values()];
    this.#dispatchers.clear();
    await Promise.all(open.map((dispatcher) => dispatcher.destroy()));
  }

  #count(host: string): { requests: number; bytes: number } {
    const stats = this.#stats.get(host) ?? { requests: 0, bytes: 0 };
    this.#stats.set(host, stats);
    stats.requests++;
    return stats;
  }

  #dispatcherFor({ url, purpose, connection }: HttpRequest): Dispatcher {
    const route: Route = {
      proxy: this.#proxies.proxyFor(url),
      isInsecure: connection?.isInsecure === true || (this.#options.insecureTls?.(url.host) ?? false),
      isGuarded: purpose === 'token',
      connection,
    };
    const key = JSON.stringify({ ...route, connection: connection?.id });
    const dispatcher = this.#dispatchers.get(key) ?? this.#createDispatcher(route);
    this.#dispatchers.set(key, dispatcher);
    return dispatcher;
  }

  #createDispatcher(route: Route): Dispatcher {
    const { maxConnectionsPerHost } = this.#options.http;
    const dialTimeoutMs = this.#dialTimeoutMs(route);
    const pool = { allowH2: false, connections: maxConnectionsPerHost, keepAliveTimeout: KEEP_ALIVE_MS };
    if (route.proxy === undefined) return new Agent({ ...pool, connect: this.#connector(route) });
    const tls = { timeout: dialTimeoutMs };
    return new ProxyAgent({
      ...pool,
      uri: route.proxy,
      proxyTls: { ...tls, secureContext: this.#trust(), rejectUnauthorized: true },
      requestTls: { ...tls, secureContext: this.#contextOf(route), rejectUnauthorized: !route.isInsecure },
      headersTimeout: dialTimeoutMs, // of the CONNECT; a request brings its own
    });
  }

  /** Trust is loaded when the first TLS connection is made: it takes tens of milliseconds. */
  #connector(route: Route): buildConnector.connector {
    const { isInsecure, isGuarded } = route;
    const common = { timeout: this.#dialTimeoutMs(route), allowH2: false, lookup: isGuarded ? guardedLookup : boundedLookup };
    const plain = buildConnector(common);
    let secure: buildConnector.connector | undefined;
    return (options, callback) => {
      if (options.protocol !== 'https:') {
        plain(options, callback);
        return;
      }
      secure ??= buildConnector({ ...common, secureContext: this.#contextOf(route), rejectUnauthorized: !isInsecure });
      secure(options, callback);
    };
  }

  #dialTimeoutMs({ connection }: Route): number {
    return connection?.dialTimeoutMs ?? this.#options.http.dialTimeoutMs;
  }

  #contextOf({ connection }: Route): SecureContext {
    return connection?.secureContext(this.#authorities()) ?? this.#trust();
  }

  #trust(): SecureContext {
    this.#secureContext ??= createSecureContext({ ca: [...this.#authorities()] });
    return this.#secureContext;
  }

  #authorities(): readonly string[] {
    return [...new Set([...getCACertificates('default'), ...getCACertificates('system'), ...(this.#options.extraCa ?? [])])];
  }
}

/** Names host and cause. What undici hangs on its errors (sockets, pieces of an answer) is left behind. */
function networkError(host: string, error: Error): Error {
  if (error instanceof SourceFailure) return error; // of the body we sent
  const cause = Object.assign(new Error(causeText(error)), 'code' in error ? { code: error.code } : {});
  return hasCode(error, ...TIMEOUT_CODES)
    ? new RegistryError('TIMEOUT', `${host} does not answer`, { cause })
    : new RegistryError('UNREACHABLE', `cannot reach ${host}`, { cause });
}

function causeText(error: Error): string {
  if (error.name === 'HTTPParserError') return 'not an HTTP answer';
  if (error instanceof AggregateError) return error.errors.map((one) => (one instanceof Error ? one.message : String(one))).join('; ');
  return error.message || error.name;
}
