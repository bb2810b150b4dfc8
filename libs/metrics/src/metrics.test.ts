import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Counter } from 'prom-client';
import { createMetrics, serveMetrics } from './index.ts';

describe('serveMetrics', () => {
  it('answers /metrics over TCP and nothing else', async () => {
    const metrics = createMetrics();
    new Counter({ name: 'things_total', help: 'things', registers: [metrics] }).inc(3);
    await using server = await serveMetrics(metrics, 'tcp', '127.0.0.1:0');
    assert.match(await (await fetch(`http://${server.address}/metrics`)).text(), /^things_total 3$/m);
    assert.equal((await fetch(`http://${server.address}/`)).status, 404);
  });

  it('reports an address that is taken', async () => {
    await using server = await serveMetrics(createMetrics(), 'tcp', '127.0.0.1:0');
    await assert.rejects(serveMetrics(createMetrics(), 'tcp', server.address), { code: 'EADDRINUSE' });
  });
});
