import type { RouteAnswer, Routes } from '@soci/metrics';
import type { HealthReport } from './health-report.ts';
import type { ServiceHealth } from './service-health.ts';

/** `/healthz` and `/readyz` for `serveMetrics`: status 200 or 503, a line for each check, or JSON for a client that asks for it. */
export function healthRoutes(health: ServiceHealth): Routes {
  return {
    '/healthz': async (accept) => toAnswer(await health.live(), accept),
    '/readyz': async (accept) => toAnswer(await health.ready(), accept),
  };
}

function toAnswer(report: HealthReport, accept: string): RouteAnswer {
  const status = report.ok ? 200 : 503;
  if (accept.includes('application/json')) return { status, contentType: 'application/json', body: `${JSON.stringify(report)}\n` };
  const lines = report.checks.map(({ name, ok, message }) => `[${ok ? '+' : '-'}] ${name}: ${message}\n`);
  return { status, contentType: 'text/plain; charset=utf-8', body: `${lines.join('')}${report.ok ? 'ok' : 'not ready'}\n` };
}
