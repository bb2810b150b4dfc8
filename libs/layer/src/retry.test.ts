import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { engineRig, same, SOURCE, SPAN, type EngineRig } from './testing/engine-rig.ts';

const REFUSED = { kind: 'error', message: 'GET blob: answered 401', code: 'UNAUTHORIZED' } as const;
const FINE = { kind: 'none' } as const;
/** Within that a waiting read is served once its credential is good; without word of a change its next try may be two seconds away. */
const AT_ONCE_MS = 100;

/** Lets requests fail until the pause between them is a second or two. */
async function untilPauseIsLong({ source }: EngineRig): Promise<void> {
  while (source.requests.length < 5) await sleep(10);
  await sleep(20);
}

describe('a read that waits', () => {
  it('is served at once when the source changes, and not before', async (t) => {
    const it = await engineRig(t);
    it.source.fault = () => REFUSED;
    const read = it.read(0, 10);
    await untilPauseIsLong(it);
    const asked = it.source.requests.length;
    it.source.fault = () => FINE;
    await sleep(150);
    assert.equal(it.source.requests.length, asked);
    const started = performance.now();
    it.source.tell({ hosts: ['r.example'] });
    same(it, await read, 0, 10);
    assert.ok(performance.now() - started < AT_ONCE_MS, `${performance.now() - started} ms`);
  });

  it('is not tried again for a change of another registry', async (t) => {
    const it = await engineRig(t);
    it.source.fault = () => REFUSED;
    const read = it.read(0, 10);
    await untilPauseIsLong(it);
    const asked = it.source.requests.length;
    it.source.fault = () => FINE;
    it.source.tell({ hosts: ['other.example'] });
    await sleep(150);
    assert.equal(it.source.requests.length, asked);
    it.source.tell({});
    same(it, await read, 0, 10);
  });

  it('is tried again at once when its request fails that was under way at the change', async (t) => {
    const it = await engineRig(t);
    const gate = Promise.withResolvers<undefined>();
    it.source.fault = (_, count) => (count < 5 ? REFUSED : count === 5 ? { ...REFUSED, when: gate.promise } : FINE);
    const read = it.read(0, 10);
    while (it.source.requests.length < 5) await sleep(10);
    it.source.tell({});
    await sleep(20);
    const started = performance.now();
    gate.resolve(undefined);
    same(it, await read, 0, 10);
    assert.ok(performance.now() - started < AT_ONCE_MS, `${performance.now() - started} ms`);
    assert.equal(it.source.requests.length, 6);
  });

  it('does not make a storm of requests where changes never end', async (t) => {
    const it = await engineRig(t);
    it.source.fault = () => REFUSED;
    void it.read(0, 10);
    const until = performance.now() + 1_000;
    while (performance.now() < until) {
      it.source.tell({});
      await sleep(5);
    }
    assert.ok(it.source.requests.length <= 12, `${it.source.requests.length} requests in a second`);
  });

  it('is served through an image that has come', async (t) => {
    const it = await engineRig(t);
    it.source.fault = ({ reference }) => (reference === SOURCE.reference ? REFUSED : FINE);
    const read = it.read(0, 10);
    await untilPauseIsLong(it);
    it.sources.unshift({ ...SOURCE, reference: 'r.example/a:2' });
    const started = performance.now();
    it.engine.retryNow(({ reference }) => reference === 'r.example/a:2');
    same(it, await read, 0, 10);
    assert.ok(performance.now() - started < AT_ONCE_MS);
  });

  it('may come again after a change, although its span failed within the last second', async (t) => {
    const it = await engineRig(t, 12, { readTimeoutMs: 300 });
    it.source.fault = () => REFUSED;
    assert.equal(await it.read(0, 10), 'EIO');
    assert.equal(await it.read(0, 10), 'EIO');
    it.source.fault = () => FINE;
    it.source.tell({});
    same(it, await it.read(0, 10), 0, 10);
  });
});

describe('the images of a layer', () => {
  it('are asked newest first; one that refused is passed over until something changes', async (t) => {
    const it = await engineRig(t);
    it.sources.unshift({ ...SOURCE, reference: 'r.example/new:1' });
    it.source.fault = ({ reference }) => (reference.includes('new') ? REFUSED : FINE);
    const asked = (): string[] => it.source.requests.splice(0).map(({ reference }) => reference);
    same(it, await it.read(0, 10), 0, 10);
    assert.deepEqual(asked(), ['r.example/new:1', SOURCE.reference]);
    same(it, await it.read(4 * SPAN, 10), 4 * SPAN, 10);
    assert.deepEqual(asked(), [SOURCE.reference]);
    it.source.fault = () => FINE;
    it.source.tell({ hosts: ['r.example'] });
    same(it, await it.read(8 * SPAN, 10), 8 * SPAN, 10);
    assert.deepEqual(asked(), ['r.example/new:1']);
  });

  it('all get their turn, though no request asks more than four', async (t) => {
    const it = await engineRig(t);
    it.sources.length = 0;
    for (let i = 0; i < 10; i++) it.sources.push({ ...SOURCE, reference: `r.example/a:${i}` });
    it.source.fault = ({ reference }) => (reference.endsWith(':9') ? FINE : REFUSED);
    same(it, await it.read(0, 10), 0, 10);
    assert.equal(it.source.requests.length, 10);
  });

  it('are asked with the namespaces that pulled them', async (t) => {
    const it = await engineRig(t);
    it.sources.unshift({ ...SOURCE, reference: 'r.example/new:1', namespaces: ['team-b', 'team-a'] });
    same(it, await it.read(0, 10), 0, 10);
    assert.deepEqual(it.source.requests[0]?.namespaces, ['team-b', 'team-a']);
  });
});

describe('a layer that is filled in the background', () => {
  it('goes on after a change that makes its failure worth another try', async (t) => {
    const it = await engineRig(t, 4, { backgroundFetch: { silencePeriodMs: 1, fetchPeriodMs: 1, maxQueueSize: 10, dropPolicy: 'newest' } });
    it.source.fault = () => REFUSED;
    while (it.engine.counters.fillFailures === 0) await sleep(5);
    it.source.fault = () => FINE;
    it.source.tell({ hosts: ['r.example'] });
    while (!it.layer.isFilled) await sleep(5);
    assert.equal(it.engine.counters.fillFailures, 1);
  });
});

describe('an engine that is closed', () => {
  it('listens to its source no more', async (t) => {
    const it = await engineRig(t);
    assert.equal(it.source.listeners, 1);
    await it.engine[Symbol.asyncDispose]();
    assert.equal(it.source.listeners, 0);
  });
});
