import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Metrics } from './metrics.ts';

export interface MetricsServer extends AsyncDisposable {
  /** Where it listens: a path, or `host:port`. */
  readonly address: string;
}

const REQUEST_TIMEOUT_MS = 10_000;

/**
 * Serves `GET /metrics` in Prometheus' text form, and nothing else.
 * @param network `tcp` (address `host:port`, an empty host means every interface) or `unix` (address a path)
 */
export async function serveMetrics(metrics: Metrics, network: string, address: string): Promise<MetricsServer> {
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    if (request.method !== 'GET' || request.url?.split('?')[0] !== '/metrics') {
      response.writeHead(404).end('not found\n');
      return;
    }
    metrics.metrics().then(
      (text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
      () => response.writeHead(500).end('the metrics could not be collected\n'),
    );
  });
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

function hostPort(bound: AddressInfo | null): string {
  return bound === null ? '' : `${bound.address}:${bound.port}`;
}
