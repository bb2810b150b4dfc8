import type { SnapshotterConfig } from '@soci/config';
import { hasCode } from '@soci/errors';
import type { Logger } from '@soci/log';
import { serveMetrics, type Metrics, type MetricsServer } from '@soci/metrics';
import { registerHealthMetrics } from './health-metrics.ts';
import { healthRoutes } from './health-routes.ts';
import type { ServiceHealth } from './service-health.ts';

export interface ServeServiceMetricsOptions {
  readonly config: Pick<SnapshotterConfig, 'metricsAddress' | 'metricsNetwork' | 'noPrometheus'>;
  readonly metrics: Metrics;
  readonly health: ServiceHealth;
  readonly log: Logger;
}

/**
 * Serves metrics, `/healthz` and `/readyz` of a service that stands beside the snapshotter. Services may share one config.toml, and then one address: whoever comes
 * second says so and goes on without.
 * @returns undefined where nothing is served
 */
export async function serveServiceMetrics({
  config,
  metrics,
  health,
  log,
}: ServeServiceMetricsOptions): Promise<MetricsServer | undefined> {
  const { metricsAddress: address, metricsNetwork, noPrometheus } = config;
  if (address === '' || noPrometheus) return undefined;
  await registerHealthMetrics(metrics, health);
  try {
    const server = await serveMetrics(metrics, metricsNetwork, address, { routes: healthRoutes(health) });
    log.info({ address: server.address }, 'metrics are served');
    return server;
  } catch (error) {
    if (!hasCode(error, 'EADDRINUSE')) throw error;
    log.warn({ address, error }, 'metrics are not served: give each service a metrics_address of its own');
    return undefined;
  }
}
