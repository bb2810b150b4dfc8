import assert from 'node:assert/strict';
import { open, rename, symlink, truncate, unlink } from 'node:fs/promises';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LayerData } from './layer-data.ts';
import { engineRig, same, SPAN } from './testing/engine-rig.ts';

const BEGAN = 'layer data cannot be stored';
const OVER = 'layer data can be stored again';

/** The next flush of any file fails, as where the device has an error. */
async function failNextSync(t: TestContext, path: string): Promise<() => number> {
  await using file = await open(path, 'r');
  const mock = t.mock.method(Object.getPrototypeOf(file) as { datasync: () => Promise<void> }, 'datasync', () =>
    Promise.reject(Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO', errno: -5 })),
  );
  return () => {
    mock.mock.restore();
    return mock.mock.callCount();
  };
}

describe('a disk that takes nothing', () => {
  for (const what of ['no space', 'no file'] as const) {
    it(`fails reads of what is missing, each once, serves what is there, and says so once: ${what}`, async (t) => {
      const it = await engineRig(t, 12);
      if (what === 'no file') {
        same(it, await it.read(0, SPAN), 0, SPAN);
        it.engine.detach(7); // its descriptors are closed
        it.engine.attach(7, it.layer, () => it.sources);
      }
      const kept = `${it.layer.paths.data}.kept`;
      await rename(it.layer.paths.data, kept);
      if (what === 'no space') await symlink('/dev/full', it.layer.paths.data);
      for (const span of [4, 8, 10]) assert.equal(await it.read(span * SPAN, 10), 'EIO');
      if (what === 'no file') same(it, await it.read(0, SPAN), 0, SPAN);
      assert.equal(it.lines.filter((line) => line.includes(BEGAN)).length, 1, it.lines.join('\n'));
      if (what === 'no space') await unlink(it.layer.paths.data);
      await rename(kept, it.layer.paths.data);
      it.clock.ms += 1_001;
      if (what === 'no space') {
        it.engine.detach(7);
        it.engine.attach(7, it.layer, () => it.sources);
      }
      same(it, await it.read(4 * SPAN, SPAN), 4 * SPAN, SPAN);
      assert.ok(!it.layer.isPresent(10));
      assert.equal(it.lines.filter((line) => line.includes(OVER)).length, 1);
    });
  }

  it('does not end the background fill', async (t) => {
    const it = await engineRig(t, 5, { backgroundFetch: { silencePeriodMs: 1, fetchPeriodMs: 2, maxQueueSize: 10, dropPolicy: 'newest' } });
    const kept = `${it.layer.paths.data}.kept`;
    await rename(it.layer.paths.data, kept);
    while (!it.lines.some((line) => line.includes(BEGAN))) await sleep(5, undefined, { signal: t.signal });
    await sleep(20);
    const { fill } = it.engine.counters.requests;
    await sleep(50);
    assert.equal(it.engine.counters.requests.fill, fill, 'it waits between tries');
    await rename(kept, it.layer.paths.data);
    it.clock.ms += 5_001;
    while (!it.layer.isFilled) await sleep(5, undefined, { signal: t.signal });
    assert.equal(it.engine.counters.fillFailures, 0);
  });
});

describe('a disk that loses what was written', () => {
  it('makes the spans be fetched again: they are in no map and behind no bit', async (t) => {
    const it = await engineRig(t, 12);
    const restore = await failNextSync(t, it.layer.paths.map);
    same(it, await it.read(SPAN, 10), SPAN, 10);
    await assert.rejects(it.layer.flush(), { code: 'DISK_FAILED' });
    assert.ok(restore() > 0);
    assert.ok(!it.layer.isPresent(1));
    assert.equal(it.layer.storedCount, 0);
    const requests = it.source.requests.length;
    same(it, await it.read(SPAN, 10), SPAN, 10);
    assert.equal(it.source.requests.length, requests + 1);
    await it.layer.flush();
    assert.ok(it.layer.isPresent(1));
  });
});

describe('data that was damaged while nobody served it', () => {
  it('is found by its checksums after an unclean stop, and fetched again', async (t) => {
    const it = await engineRig(t, 12);
    same(it, await it.read(0, 3 * SPAN), 0, 3 * SPAN);
    await it.layer.flush();
    const { paths, key, digest } = it.layer;
    it.engine.detach(7);
    await using file = await open(paths.data, 'r+');
    await file.write(Buffer.from('damage'), 0, 6, SPAN + 100);
    await using again = await LayerData.open(key, digest, paths); // the first was not closed
    assert.ok(again.suspects.size >= 3);
    it.engine.attach(8, again, () => it.sources);
    const requests = it.source.requests.length;
    it.engine.onMiss({ slot: 8, uniqueLow: 900, uniqueHigh: 1, offsetBytes: SPAN, sizeBytes: SPAN });
    const reply = await it.replies.of(900);
    assert.ok('data' in reply);
    assert.deepEqual(Buffer.from(reply.data), Buffer.from(it.fake.bytes.subarray(SPAN, 2 * SPAN)));
    assert.ok(it.source.requests.length > requests);
    it.engine.detach(8);
  });

  it('is not believed when the file has another size', async (t) => {
    const it = await engineRig(t, 12);
    same(it, await it.read(0, 10), 0, 10);
    const { paths, key, digest } = it.layer;
    await it.layer[Symbol.asyncDispose]();
    await truncate(paths.data, 10);
    await using again = await LayerData.open(key, digest, paths);
    assert.equal(again.storedCount, 0);
    assert.ok(again.suspects.size > 0);
  });
});
