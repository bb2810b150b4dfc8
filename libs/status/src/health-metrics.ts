import type { Metrics } from '@soci/metrics';
import type { ServiceHealth } from './service-health.ts';

/** Shows how health checks went, by check. The library is loaded when it is used: who only asks a service does without. */
export async function registerHealthMetrics(metrics: Metrics, health: ServiceHealth): Promise<void> {
  const { Counter } = await import('prom-client');
  new Counter({
    name: 'soci_health_checks_total',
    help: 'Health checks that were made, by check and outcome.',
    labelNames: ['check', 'outcome'],
    registers: [metrics],
    collect() {
      this.reset();
      for (const [check, { ok, failed }] of health.counts) {
        this.inc({ check, outcome: 'ok' }, ok);
        this.inc({ check, outcome: 'failed' }, failed);
      }
    },
  });
  new Counter({
    name: 'soci_health_check_seconds_total',
    help: 'Time that health checks took, by check.',
    labelNames: ['check'],
    registers: [metrics],
    collect() {
      this.reset();
      for (const [check, { seconds }] of health.counts) this.inc({ check }, seconds);
    },
  });
}
