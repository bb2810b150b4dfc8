import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { Counter, Gauge } from 'prom-client';
import { createMetrics, serveMetrics, type RouteAnswer } from './index.ts';

describe('serveMetrics', () => {
  it('answers /metrics over TCP and nothing else', async () => {
    const metrics = createMetrics();
    new Counter({ name: 'things_total', help: 'things', registers: [metrics] }).inc(3);
    await using server = await serveMetrics(metrics, 'tcp', '127.0.0.1:0');
    assert.match(await (await fetch(`http://${server.address}/metrics`)).text(), /^things_total 3$/m);
    assert.equal((await fetch(`http://${server.address}/`)).status, 404);
    assert.equal((await fetch(`http://${server.address}/metrics`, { method: 'POST' })).status, 404);
  });

  it('reports an address that is taken', async () => {
    await using server = await serveMetrics(createMetrics(), 'tcp', '127.0.0.1:0');
    await assert.rejects(serveMetrics(createMetrics(), 'tcp', server.address), { code: 'EADDRINUSE' });
  });

  it('serves further routes, told what the client accepts, also for HEAD', async () => {
    const asked: string[] = [];
    const answer: RouteAnswer = { status: 503, contentType: 'text/plain', body: 'wait\n' };
    const routes = {
      '/readyz': (accept: string) => (asked.push(accept), Promise.resolve(answer)),
      '/broken': () => Promise.reject(new Error('no')),
    };
    await using server = await serveMetrics(createMetrics(), 'tcp', '127.0.0.1:0', { routes });
    const got = await fetch(`http://${server.address}/readyz?verbose`, { headers: { accept: 'Application/JSON' } });
    assert.deepEqual([got.status, got.headers.get('content-type'), await got.text()], [503, 'text/plain', 'wait\n']);
    const head = await fetch(`http://${server.address}/readyz`, { method: 'HEAD', headers: { accept: '*/*' } });
    assert.deepEqual([head.status, head.headers.get('content-length'), await head.text()], [503, '5', '']);
    assert.deepEqual(asked, ['application/json', '*/*']);
    assert.equal((await fetch(`http://${server.address}/broken`)).status, 500);
    assert.equal((await fetch(`http://${server.address}/__proto__`)).status, 404);
  });

  it('collects once for all who ask at the same time', async () => {
    const metrics = createMetrics();
    let collections = 0;
    new Gauge({
      name: 'collected',
      help: 'how often',
      registers: [metrics],
      collect() {
        this.set(++collections);
      },
    });
    await using server = await serveMetrics(metrics, 'tcp', '127.0.0.1:0');
    const client = connect(Number(server.address.split(':')[1]), '127.0.0.1');
    const request = 'GET /metrics HTTP/1.1\r\nhost: x\r\n';
    client.end(`${request}\r\n${request}\r\n${request}connection: close\r\n\r\n`); // one packet: all three are asked before one is answered
    const got = await text(client);
    assert.equal([...got.matchAll(/^collected 1$/gm)].length, 3);
    assert.match(await (await fetch(`http://${server.address}/metrics`)).text(), /^collected 2$/m);
  });
});
