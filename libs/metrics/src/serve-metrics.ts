import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Metrics } from './metrics.ts';

/** What a path answers. */
export interface RouteAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** What else is served, by path. A route bounds its own time. It gets what the client accepts, in lower case. */
export type Routes = Readonly<Record<string, (accept: string) => Promise<RouteAnswer>>>;

export interface ServeMetricsOptions {
  readonly routes?: Routes;
}

export interface MetricsServer extends AsyncDisposable {
  /** Where it listens: a path, or `host:port`. */
  readonly address: string;
}

const REQUEST_TIMEOUT_MS = 10_000;
/** Far more than scrapers and probes of one node open; more are closed at once. */
const MAX_CONNECTIONS = 128;

/**
 * Serves `GET /metrics` in Prometheus' text form, and the routes it is given. Anybody who can connect may ask as often as they like: metrics are collected once for
 * all who ask at the same time.
 * @param network `tcp` (address `host:port`, an empty host means every interface) or `unix` (address a path)
 */
export async function serveMetrics(
  metrics: Metrics,
  network: string,
  address: string,
  { routes = {} }: ServeMetricsOptions = {},
): Promise<MetricsServer> {
  const byPath = new Map([...Object.entries(routes), ['/metrics', metricsRoute(metrics)] as const]);
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    void answer(byPath, request, response);
  });
  server.maxConnections = MAX_CONNECTIONS;
  if (network === 'unix') server.listen(address);
  else {
    const colon = address.lastIndexOf(':');
    server.listen(Number(address.slice(colon + 1)), address.slice(0, colon).replaceAll(/[[\]]/g, '') || undefined);
  }
  await once(server, 'listening');
  const bound = server.address();
  return {
    address: typeof bound === 'string' ? bound : hostPort(bound),
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** Never rejects. */
async function answer(routes: ReadonlyMap<string, Routes[string]>, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { method, url = '', headers } = request;
  const route = routes.get(url.split('?')[0] ?? '');
  if (route === undefined || (method !== 'GET' && method !== 'HEAD')) {
    response.writeHead(404).end('not found\n');
    return;
  }
  try {
    const { status, contentType, body } = await route((headers.accept ?? '').toLowerCase());
    const fields = { 'content-type': contentType, 'content-length': Buffer.byteLength(body), 'cache-control': 'no-store' };
    response.writeHead(status, fields).end(method === 'HEAD' ? undefined : body);
  } catch {
    response.writeHead(500).end('the answer could not be put together\n');
  }
}

function metricsRoute(metrics: Metrics): Routes[string] {
  let collecting: Promise<RouteAnswer> | undefined;
  return () => {
    collecting ??= metrics
      .metrics()
      .then((body) => ({ status: 200, contentType: metrics.contentType, body }))
      .finally(() => (collecting = undefined));
    return collecting;
  };
}

function hostPort(bound: AddressInfo | null): string {
  return bound === null ? '' : `${bound.address}:${bound.port}`;
}
