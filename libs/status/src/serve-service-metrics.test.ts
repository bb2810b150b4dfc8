import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BusState } from '@soci/bus';
import { collectLogs } from '@soci/log';
import { createMetrics } from '@soci/metrics';
import { busCondition, serveServiceMetrics, ServiceHealth } from './index.ts';

const config = { metricsAddress: '127.0.0.1:0', metricsNetwork: 'tcp', noPrometheus: false };

describe('serveServiceMetrics', () => {
  it('tells what a service counts, and what it waits for', async () => {
    const bus: { state: BusState } = {
      state: { kind: 'away', sinceMs: 0, reason: 'connection refused' },
    };
    const { log } = collectLogs();
    let nowMs = 0;
    const health = new ServiceHealth({ conditions: busCondition(bus), nowMs: () => nowMs });
    await using server = await serveServiceMetrics({ config, metrics: createMetrics(), health, log });
    const ask = (path: string) => fetch(`http://${server?.address}${path}`);
    const away = await ask('/readyz');
    assert.equal(away.status, 503);
    assert.match(await away.text(), /^\[-\] bus: connection refused$/m);
    assert.equal((await ask('/healthz')).status, 200);
    bus.state = { kind: 'connected', sinceMs: 0 };
    nowMs += 2_000; // an answer is good for a second
    assert.equal((await ask('/readyz')).status, 200);
    assert.match(await (await ask('/metrics')).text(), /^soci_health_checks_total\{check="bus",outcome="failed"\} 1$/m);
  });

  it('goes on without where another service has the address, and where none is wanted', async () => {
    const { log, lines } = collectLogs();
    const health = new ServiceHealth();
    await using first = await serveServiceMetrics({ config, metrics: createMetrics(), health, log });
    assert.ok(first !== undefined);
    const same = { ...config, metricsAddress: first.address };
    assert.equal(await serveServiceMetrics({ config: same, metrics: createMetrics(), health, log }), undefined);
    assert.match(lines.at(-1) ?? '', /"level":"warning".*metrics_address of its own/);
    assert.equal(
      await serveServiceMetrics({ config: { ...config, metricsAddress: '' }, metrics: createMetrics(), health, log }),
      undefined,
    );
  });
});
