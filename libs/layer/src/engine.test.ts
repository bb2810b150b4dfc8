import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { collectLogs } from '@soci/log';
import { LayerEngine } from './engine.ts';
import { MAX_WAITING_READS } from './read-table.ts';
import { engineRig as rig, same, SOURCE, SPAN } from './testing/engine-rig.ts';
import { fakeLayer, openStore, temporaryFolder } from './testing/fake-layer.ts';
import { FakeReplies } from './testing/fake-replies.ts';
import { FakeSource } from './testing/fake-source.ts';

describe('LayerEngine', () => {
  it('fetches the span that a read needs, with the one behind it, and answers all of it', async (t) => {
    const it = await rig(t);
    same(it, await it.read(3 * SPAN + 100, 4096), 3 * SPAN + 100, 4096);
    assert.deepEqual(
      it.source.requests.map(({ offsetBytes, lengthBytes, priority }) => [offsetBytes, lengthBytes, priority]),
      [[3 * SPAN, 2 * SPAN, 'demand']],
    );
    assert.ok(it.layer.isPresent(3) && !it.layer.isPresent(2));
    same(it, await it.read(4 * SPAN, 10), 4 * SPAN, 10);
    assert.equal(it.source.requests.filter(({ priority }) => priority === 'demand').length, 1);
  });

  it('stops fetching spans along where nobody reads them', async (t) => {
    const it = await rig(t, 40);
    for (const span of [5, 30, 12, 20, 2, 38, 16]) await it.read(span * SPAN, 10);
    assert.deepEqual(
      it.source.requests.map(({ lengthBytes }) => Math.ceil(lengthBytes / SPAN)),
      [2, 2, 2, 2, 1, 1, 1],
    );
  });

  it('fetches neighbours that are missing with one request, and lets reads join it', async (t) => {
    const it = await rig(t);
    const reads = [it.read(2 * SPAN - 10, 20), it.read(4 * SPAN - 10, 20), it.read(2 * SPAN, 100), it.read(2 * SPAN + 5, 3 * SPAN)];
    same(it, await reads[0]!, 2 * SPAN - 10, 20);
    same(it, await reads[1]!, 4 * SPAN - 10, 20);
    same(it, await reads[2]!, 2 * SPAN, 100);
    same(it, await reads[3]!, 2 * SPAN + 5, 3 * SPAN);
    assert.equal(it.source.requests.filter(({ priority }) => priority === 'demand').length, 1);
  });

  it('answers past the data with zeros up to the device block, never beyond', async (t) => {
    const it = await rig(t);
    const from = it.fake.bytes.length - 10;
    const got = await it.read(from, 4096);
    assert.notEqual(got, 'EIO');
    assert.equal(got.length, it.layer.deviceSizeBytes - from);
    assert.ok((got as Uint8Array).subarray(10).every((byte) => byte === 0));
  });

  it('goes ahead of a sequential reader, each window twice the last, and not of a random one', async (t) => {
    const it = await rig(t, 40);
    same(it, await it.read(0, 100), 0, 100);
    assert.equal(it.engine.counters.requests['read-ahead'], 0);
    for (let span = 1; span < 40; span++) if (!it.layer.isPresent(span)) same(it, await it.read(span * SPAN, 100), span * SPAN, 100);
    assert.ok(it.engine.counters.readAheadUsed > 20);
    assert.ok(it.source.requests.length <= 14, `${it.source.requests.length} requests for 40 spans`);

    const random = await rig(t, 40);
    for (const span of [5, 30, 12, 20, 2, 38]) await random.read(span * SPAN, 100);
    assert.equal(random.engine.counters.requests['read-ahead'], 0);
    assert.equal(random.source.requests.length, 6);
  });

  it('gives EIO, never wrong bytes, for a span that was changed on the way, and logs layer and span', async (t) => {
    const it = await rig(t);
    it.source.fault = (_, count) => (count === 1 ? { kind: 'flip-byte', atBytes: 2 * SPAN + 77 } : { kind: 'none' });
    assert.equal(await it.read(2 * SPAN, 10), 'EIO');
    const line = it.lines.find((text) => text.includes('span rejected')) ?? '';
    assert.match(line, new RegExp(it.fake.digest));
    assert.match(line, /"span":2\b/);
    assert.equal(await it.read(2 * SPAN, 10), 'EIO', 'at once for a second');
    assert.equal(it.source.requests.length, 1);
    it.clock.ms += 1001;
    same(it, await it.read(2 * SPAN, 10), 2 * SPAN, 10);
  });

  it('fetches a changed span again as often as it is told to', async (t) => {
    const it = await rig(t, 12, { maxSpanVerificationRetries: 2 });
    it.source.fault = (_, count) => (count <= 2 ? { kind: 'flip-byte', atBytes: 5 } : { kind: 'none' });
    same(it, await it.read(0, 10), 0, 10);
    assert.equal(it.source.requests.length, 3);
    assert.equal(it.engine.counters.spansRejected, 2);
  });

  it('asks the next image when one refuses, and starts where the first one stopped', async (t) => {
    const it = await rig(t);
    it.sources.unshift({ reference: 'r.example/new:1', repository: 'new', namespaces: [] });
    it.source.fault = ({ reference }) => (reference.includes('new') ? { kind: 'short', afterBytes: SPAN } : { kind: 'none' });
    same(it, await it.read(SPAN - 1, SPAN + 2), SPAN - 1, SPAN + 2);
    assert.deepEqual(
      it.source.requests.map(({ reference, offsetBytes }) => [reference, offsetBytes]),
      [
        ['r.example/new:1', 0],
        ['r.example/a:1', SPAN],
      ],
    );
  });

  it('tries again until the read has waited too long, answers EIO then, and serves the next read', async (t) => {
    const waits: number[] = [];
    const it = await rig(t, 12, { readTimeoutMs: 700, onWaited: (seconds) => waits.push(seconds) });
    it.source.fault = () => ({ kind: 'error', message: 'connection refused' });
    const started = performance.now();
    assert.equal(await it.read(0, 10), 'EIO');
    const waited = performance.now() - started;
    assert.ok(waited >= 700 && waited < 1400, `${waited} ms`);
    assert.ok(it.source.requests.length >= 2);
    assert.equal(it.engine.counters.readsFailed.timeout, 1);
    assert.equal(await it.read(0, 10), 'EIO');
    assert.equal(it.engine.counters.readsFailed['recent-failure'], 1);
    it.source.fault = () => ({ kind: 'none' });
    it.clock.ms += 1001;
    same(it, await it.read(0, 10), 0, 10);
    const [refused = 0, served = 0, ...more] = waits;
    assert.ok(refused >= 0.7 && refused < 1.4 && served > 0 && served < 0.7, `${refused} s, ${served} s`);
    assert.equal(more.length, 0, 'one that is refused at once has not waited');
  });

  it('gives up on a source that is silent, and asks again', async (t) => {
    const it = await rig(t, 12, { stallMs: 50 });
    it.source.fault = (_, count) => (count === 1 ? { kind: 'hang' } : { kind: 'none' });
    same(it, await it.read(0, 10), 0, 10);
    assert.equal(it.source.requests.length, 2);
  });

  it('asks nobody else when a source does not end what it has delivered', async (t) => {
    const it = await rig(t, 12, { stallMs: 30 });
    it.sources.push({ ...SOURCE, reference: 'r.example/b:1' });
    it.source.fault = () => ({ kind: 'linger' });
    same(it, await it.read(100, 4096), 100, 4096);
    await sleep(100);
    same(it, await it.read(3 * SPAN, 4096), 3 * SPAN, 4096);
    assert.equal(it.source.requests.length, 2);
    assert.ok(!it.lines.some((line) => line.includes('spans cannot be fetched')));
  });

  it('tries again when it cannot be told where the layer is to be had', async (t) => {
    const it = await rig(t);
    let asked = 0;
    it.engine.detach(7);
    it.engine.attach(7, it.layer, () => {
      if (asked++ === 0) throw new Error('disk I/O error');
      return it.sources;
    });
    same(it, await it.read(100, 4096), 100, 4096);
    assert.equal(asked, 2);
  });

  it('answers the read past the table with EIO at once', async (t) => {
    const it = await rig(t);
    it.source.fault = () => ({ kind: 'hang' });
    for (let i = 0; i < MAX_WAITING_READS; i++) it.post(i % SPAN, 10);
    assert.equal(await it.read(0, 10), 'EIO');
    assert.equal(it.engine.counters.readsFailed['table-full'], 1);
    it.engine.detach(7);
    assert.equal(it.engine.counters.readsFailed.unavailable, MAX_WAITING_READS);
  });

  it('serves other layers while a hundred reads of one wait', async (t) => {
    const store = await openStore(t, await temporaryFolder(t));
    const [stuck, fine] = [await fakeLayer(store, 200, 1000, 1), await fakeLayer(store, 10, 1000, 2)];
    const source = new FakeSource(new Map([[fine.digest, fine.bytes]]));
    source.fault = ({ digest }) => (digest === stuck.digest ? { kind: 'hang' } : { kind: 'none' });
    const replies = new FakeReplies();
    const engine = new LayerEngine({ source, replies, log: collectLogs().log });
    t.after(() => engine[Symbol.asyncDispose]());
    engine.attach(1, await store.openLayer(stuck.key), () => [SOURCE]);
    engine.attach(2, await store.openLayer(fine.key), () => [SOURCE]);
    for (let i = 0; i < 100; i++) engine.onMiss({ slot: 1, uniqueLow: i, uniqueHigh: 0, offsetBytes: 2000 * i, sizeBytes: 10 });
    engine.onMiss({ slot: 2, uniqueLow: 1000, uniqueHigh: 0, offsetBytes: 0, sizeBytes: 10 });
    assert.ok('data' in (await replies.of(1000)));
  });

  it('joins a read with the read-ahead that already brings its span', async (t) => {
    const it = await rig(t, 40);
    for (const span of [0, 1]) await it.read(span * SPAN, 10);
    it.source.fault = () => ({ kind: 'slow', delayMs: 5 });
    const reads = [it.read(2 * SPAN, 10), it.read(3 * SPAN, 10)];
    same(it, await reads[0]!, 2 * SPAN, 10);
    same(it, await reads[1]!, 3 * SPAN, 10);
    assert.deepEqual(
      it.source.requests.map(({ offsetBytes, lengthBytes }) => [offsetBytes / SPAN, Math.ceil(lengthBytes / SPAN)]),
      [
        [0, 2],
        [2, 4],
      ],
    );
  });

  it("ends with a span half way, and its files are nobody else's", async (t) => {
    const it = await rig(t);
    it.source.fault = () => ({ kind: 'slow', delayMs: 20 });
    const unique = it.post(0, 10);
    while (it.engine.counters.bytesFetched.demand === 0) await sleep(5);
    it.engine.detach(7);
    assert.deepEqual(await it.replies.of(unique), { errno: 5 });
    it.source.fault = () => ({ kind: 'none' });
    it.engine.attach(7, it.layer, () => [SOURCE]);
    same(it, await it.read(0, SPAN), 0, SPAN);
  });

  it('goes on when an answer is not taken', async (t) => {
    const replies = new FakeReplies();
    const refusing = {
      reply: (low: number, high: number, data: Uint8Array): void => {
        if (low === 2) throw new Error('EFAULT');
        replies.reply(low, high, data);
      },
      replyError: (): void => {
        throw new Error('EFAULT');
      },
    };
    const it = await rig(t, 12, { replies: refusing });
    for (let i = 0; i < 3; i++) it.post(100, 10);
    it.engine.onMiss({ slot: 99, uniqueLow: 9, uniqueHigh: 0, offsetBytes: 0, sizeBytes: 1 });
    assert.deepEqual(await replies.of(3), await replies.of(1));
    it.post(SPAN * 5, 10);
    await replies.of(4);
    assert.equal(it.lines.filter((line) => line.includes('answer to a read was not taken')).length, 2);
  });

  it('refuses a slot that nobody attached', async (t) => {
    const it = await rig(t);
    it.engine.onMiss({ slot: 99, uniqueLow: 500, uniqueHigh: 0, offsetBytes: 0, sizeBytes: 10 });
    assert.deepEqual(await it.replies.of(500), { errno: 5 });
  });

  it('fills the layer in the background when nobody waits, and says when it is complete', async (t) => {
    const completed: string[] = [];
    const done = new EventTarget();
    const it = await rig(t, 5, {
      backgroundFetch: { silencePeriodMs: 1, fetchPeriodMs: 2, maxQueueSize: 10, dropPolicy: 'newest' },
      onComplete: (layer) => {
        completed.push(layer.digest);
        done.dispatchEvent(new Event('complete'));
      },
    });
    await once(done, 'complete');
    assert.deepEqual(completed, [it.fake.digest]);
    assert.ok(it.layer.isComplete);
    assert.ok(it.source.requests.every(({ priority }) => priority === 'fill'));
    same(it, await it.read(0, 4 * SPAN), 0, 4 * SPAN);
  });

  it('stops filling a layer whose fetch fails', async (t) => {
    const it = await rig(t, 8, { backgroundFetch: { silencePeriodMs: 1, fetchPeriodMs: 1, maxQueueSize: 10, dropPolicy: 'newest' } });
    it.source.fault = () => ({ kind: 'error', message: 'gone' });
    while (it.engine.counters.fillFailures === 0) await sleep(5);
    await sleep(20);
    assert.equal(it.engine.counters.requests.fill, 1);
    assert.equal(it.engine.fillQueueSize, 0);
  });

  it('keeps the background quiet while reads wait', async (t) => {
    const it = await rig(t, 8, { backgroundFetch: { silencePeriodMs: 1, fetchPeriodMs: 1, maxQueueSize: 10, dropPolicy: 'newest' } });
    it.source.fault = ({ priority }) => (priority === 'demand' ? { kind: 'hang' } : { kind: 'none' });
    it.post(0, 10);
    await sleep(30);
    assert.equal(it.engine.counters.requests.fill, 0);
  });

  it('leaves waiting reads unanswered when it stops', async (t) => {
    const it = await rig(t);
    it.source.fault = () => ({ kind: 'hang' });
    const unique = it.post(0, 10);
    await sleep(5);
    await it.engine[Symbol.asyncDispose]();
    assert.equal(it.replies.has(unique), false);
  });
});
