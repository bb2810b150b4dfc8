import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, open, readdir, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { collectLogs } from '@soci/log';
import { LayerEngine } from './engine.ts';
import { fillLayer, shuffledSpans } from './fill-layer.ts';
import type { LayerData } from './layer-data.ts';
import { layerKey } from './layer-key.ts';
import { LayerStore } from './layer-store.ts';
import { SpanMap } from './span-map.ts';
import { fakeLayer, openStore, pattern, temporaryFolder } from './testing/fake-layer.ts';
import { FakeReplies } from './testing/fake-replies.ts';
import { FakeSource } from './testing/fake-source.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;
const SOURCE = { reference: 'r.example/a:1', repository: 'a', namespaces: [] };

describe('LayerStore', () => {
  it('gives out slots from 1 on and never one twice, also after a removal and a restart', async (t) => {
    const root = await temporaryFolder(t);
    const [a, b] = ['a', 'b'].map((digit) => layerKey(`sha256:${digit.repeat(64)}`, undefined)) as [string, string];
    {
      await using store = await LayerStore.open({ root, log: collectLogs().log });
      assert.deepEqual(
        [store.names(a, '01', 0).slot, store.names(b, '01', 0).slot, store.names(a, '02', 0).slot, store.names(a, '01', 0).slot],
        [1, 2, 3, 1],
      );
      await store.remove(a);
    }
    await using store = await LayerStore.open({ root, log: collectLogs().log });
    assert.equal(store.bySlot(3), undefined);
    assert.equal(store.bySlot(2)?.layerKey, b);
    assert.equal(store.names(a, '02', 0).slot, 4);
    assert.deepEqual(
      store.allNames().map(({ slot }) => slot),
      [2, 4],
    );
    assert.equal(store.names(a, '02', 1).slot, 5, 'another image: what the kernel kept of the first is not it');
    assert.equal(store.names(a, '02', 1).slot, 5);
  });

  it('deletes folders that no table knows, and no others', async (t) => {
    const root = await temporaryFolder(t);
    const [known, unknown] = ['a', 'b'].map((letter) => `${letter.repeat(64)}-${letter.repeat(32)}`);
    {
      await using store = await LayerStore.open({ root, log: collectLogs().log });
      store.names(known ?? '', '01', 0);
      for (const key of [known, unknown]) await mkdir(store.paths(key ?? '').folder, { recursive: true });
      await writeFile(join(store.paths(unknown ?? '').folder, 'data'), 'half of it');
    }
    {
      await using store = await LayerStore.open({ root, log: collectLogs().log });
      await store.discardUnknown();
      assert.deepEqual(await store.layers(), [known]);
    }
    assert.deepEqual(await readdir(join(root, 'trash')), []);
  });

  it('keeps the images of a layer newest first, and forgets one that is removed', async (t) => {
    const store = await openStore(t, await temporaryFolder(t));
    const digest = `sha256:${'c'.repeat(64)}`;
    for (const [reference, namespace] of [
      ['r/a:1', 'x'],
      ['r/b:1', 'x'],
      ['r/a:1', 'y'],
    ] as const)
      store.addSource(digest, { reference, repository: reference.slice(0, 3), namespaces: [namespace] });
    assert.deepEqual(
      store.sources(digest).map(({ reference, namespaces }) => [reference, namespaces]),
      [
        ['r/a:1', ['y', 'x']],
        ['r/b:1', ['x']],
      ],
    );
    store.removeReference('r/a:1');
    assert.deepEqual(
      store.sources(digest).map(({ reference }) => reference),
      ['r/b:1'],
    );
    for (let i = 0; i < 100; i++) store.addSource(digest, { reference: `r/x:${i}`, repository: 'x', namespaces: [] });
    assert.equal(store.sources(digest).length, 64);
    assert.equal(store.sources(digest)[0]?.reference, 'r/x:99');
  });

  it('adds namespaces that pulled an image later to all of its layers, also for the time after a restart', async (t) => {
    const folder = await temporaryFolder(t);
    const [one, two] = [`sha256:${'1'.repeat(64)}`, `sha256:${'2'.repeat(64)}`];
    {
      await using store = await LayerStore.open({ root: folder, log: collectLogs().log });
      for (const digest of [one, two]) store.addSource(digest, { reference: 'r/a:1', repository: 'r/a', namespaces: ['x'] });
      store.addSource(one, { reference: 'r/b:1', repository: 'r/b', namespaces: [] });
      store.addNamespaces('r/a:1', ['x']);
      assert.equal(store.sources(one)[0]?.reference, 'r/b:1', 'no news');
      store.addNamespaces('r/a:1', ['y']);
      store.addNamespaces('r/unknown:1', ['y']);
    }
    await using store = await LayerStore.open({ root: folder, log: collectLogs().log });
    const [first, second] = store.sources(one);
    assert.deepEqual([first, second?.reference], [{ reference: 'r/a:1', repository: 'r/a', namespaces: ['y', 'x'] }, 'r/b:1']);
    assert.deepEqual(store.sources(two)[0]?.namespaces, ['y', 'x']);
    assert.deepEqual(
      store
        .images()
        .map(({ reference }) => reference)
        .sort(),
      ['r/a:1', 'r/b:1'],
    );
    store.addNamespaces(
      'r/a:1',
      Array.from({ length: 1000 }, (_, i) => `n${i}`),
    );
    assert.equal(store.sources(two)[0]?.namespaces.length, 256);
  });

  it('forgets the images of a layer with the last that is left of its blob', async (t) => {
    const store = await openStore(t, await temporaryFolder(t));
    const digest = `sha256:${'c'.repeat(64)}`;
    const keys = [layerKey(digest, undefined), layerKey(digest, `sha256:${'d'.repeat(64)}`)];
    for (const key of keys) store.notePrepared(key, [], '0');
    store.addSource(digest, { reference: 'r/a:1', repository: 'a', namespaces: [] });
    await store.remove(keys[0] as string);
    assert.equal(store.sources(digest).length, 1);
    await store.remove(keys[1] as string);
    assert.equal(store.sources(digest).length, 0);
  });

  it('counts a span once, however often it is stored', async (t) => {
    const store = await openStore(t, await temporaryFolder(t));
    const layer = await store.openLayer((await fakeLayer(store, 3, 1000)).key);
    for (const span of [0, 0, 1, 1]) layer.stored(span, 1);
    assert.equal(layer.storedCount, 2);
    assert.equal(layer.isFilled, false);
  });

  it('refuses what is no digest or key', async (t) => {
    const store = await openStore(t, await temporaryFolder(t));
    assert.throws(() => layerKey('sha256:abc', DIGEST), { code: 'NOT_FOUND' });
    assert.throws(() => store.paths('../../etc'), { code: 'NOT_FOUND' });
    assert.throws(() => store.namesPath(layerKey(DIGEST, DIGEST), '../x'), { code: 'NOT_FOUND' });
    await assert.rejects(store.openLayer(layerKey(DIGEST, DIGEST)), { code: 'NOT_FOUND' });
  });

  it('trusts what was closed: spans are there at once', async (t) => {
    const root = await temporaryFolder(t);
    const { key } = await filled(root, [1, 3]);
    const store = await openStore(t, root);
    const layer = await store.openLayer(key);
    assert.deepEqual(
      [0, 1, 2, 3].map((span) => layer.isPresent(span)),
      [false, true, false, true],
    );
    assert.equal(layer.suspects.size, 0);
  });

  it('is complete once every span was filled, in any order, and stays so', async (t) => {
    const root = await temporaryFolder(t);
    const { key, bytes } = await filled(root, shuffledSpans(8, 42));
    const store = await openStore(t, root);
    const layer = await store.openLayer(key);
    assert.ok(layer.isComplete);
    const data = readFileSync(layer.paths.data);
    assert.equal(data.length % 512, 0);
    assert.deepEqual(data.subarray(0, bytes.length), Buffer.from(bytes));
  });

  it('checks spans whose file was closed by nobody, and fetches again what is wrong', async (t) => {
    const root = await temporaryFolder(t);
    const { key, digest, bytes, spanBytes } = await filled(root, [0, 1, 2]);
    await damage(root, key, spanBytes + 5);
    const store = await openStore(t, root);
    const layer = await store.openLayer(key);
    assert.deepEqual([...layer.suspects], [0, 1, 2]);
    assert.ok(!layer.isPresent(0));
    const source = new FakeSource(new Map([[digest, bytes]]));
    const replies = new FakeReplies();
    await using engine = new LayerEngine({ source, replies, log: collectLogs().log });
    engine.attach(1, layer, () => [SOURCE]);
    for (const span of [2, 1, 0]) {
      engine.onMiss({ slot: 1, uniqueLow: span, uniqueHigh: 0, offsetBytes: span * spanBytes, sizeBytes: 100 });
      assert.deepEqual(await replies.of(span), { data: bytes.slice(span * spanBytes, span * spanBytes + 100) });
    }
    assert.deepEqual(
      source.requests.map(({ offsetBytes }) => offsetBytes / spanBytes),
      [1],
    );
  });

  it('takes a data file of another length for damaged', async (t) => {
    const root = await temporaryFolder(t);
    const { key } = await filled(root, shuffledSpans(8, 1));
    const store = await openStore(t, root);
    await truncate(store.paths(key).data, 1000);
    const layer = await store.openLayer(key);
    assert.ok(!layer.isComplete);
    assert.equal(layer.suspects.size, 8);
    assert.equal((await stat(layer.paths.data)).size, layer.deviceSizeBytes);
  });

  it('begins anew with a map that is garbage', async (t) => {
    const root = await temporaryFolder(t);
    const { key } = await filled(root, [0, 1]);
    const store = await openStore(t, root);
    await writeFile(store.paths(key).map, pattern(100));
    const layer = await store.openLayer(key);
    assert.equal(layer.suspects.size, 0);
    assert.equal(layer.storedCount, 0);
  });

  it('flushes by itself, also when it was idle before', async (t) => {
    const root = await temporaryFolder(t);
    const store = await openStore(t, root);
    const fake = await fakeLayer(store, 4, 1000);
    await sleep(100); // some turns of the flusher with nothing to do
    const layer = await store.openLayer(fake.key);
    layer.stored(2, 77);
    const isOnDisk = (): boolean =>
      readFileSync(layer.paths.map)
        .subarray(32)
        .some((byte) => byte !== 0);
    for (let tries = 0; !isOnDisk() && tries < 500; tries++) await sleep(10);
    assert.ok(isOnDisk(), 'the map on disk knows the span');
    await store.release(layer);
  });

  it('loses nothing that was flushed, and serves nothing wrong, after kill -9 in the middle of writing', async (t) => {
    const root = await temporaryFolder(t);
    const spanCount = 60;
    const child = spawn(
      process.execPath,
      ['--conditions=@soci/source', join(import.meta.dirname, 'testing/fill-child.ts'), root, `${spanCount}`, '200000'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    t.after(() => child.kill('SIGKILL'));
    const lines = createInterface({ input: child.stdout });
    const written: number[] = [];
    let flushed: number[] = [];
    let key = '';
    for await (const line of lines) {
      if (key === '') key = line;
      else if (line === 'flushed') flushed = [...written];
      else written.push(Number(line));
      if (written.length === 25) break;
    }
    child.kill('SIGKILL');
    await once(child, 'exit');

    const store = await openStore(t, root);
    const layer = await store.openLayer(key);
    assert.equal(flushed.length, 20);
    assert.ok(flushed.every((span) => layer.suspects.has(span)));
    assert.ok(layer.suspects.size < spanCount);
    const bytes = pattern(layer.index.dataSizeBytes);
    const source = new FakeSource(new Map([[layer.digest, bytes]]));
    const replies = new FakeReplies();
    await using engine = new LayerEngine({ source, replies, log: collectLogs().log });
    engine.attach(1, layer, () => [SOURCE]);
    for (let span = 0; span < spanCount; span++) {
      const offsetBytes = layer.index.startBytes[span]!;
      engine.onMiss({ slot: 1, uniqueLow: span, uniqueHigh: 0, offsetBytes, sizeBytes: 5000 });
      assert.deepEqual(await replies.of(span), { data: bytes.slice(offsetBytes, offsetBytes + 5000) });
    }
  });

  it('clears away at start what a removal left', async (t) => {
    const root = await temporaryFolder(t);
    await (await LayerStore.open({ root, log: collectLogs().log }))[Symbol.asyncDispose]();
    await writeFile(join(root, 'trash', 'x'), '');
    await writeFile(join(root, 'tmp', 'y'), '');
    await (await LayerStore.open({ root, log: collectLogs().log }))[Symbol.asyncDispose]();
    assert.deepEqual([await readdir(join(root, 'trash')), await readdir(join(root, 'tmp'))], [[], []]);
  });
});

/** A store with a layer of 8 spans, some of them filled, closed again. */
async function filled(
  root: string,
  order: readonly number[],
): Promise<{ key: string; digest: string; bytes: Uint8Array; spanBytes: number }> {
  await using store = await LayerStore.open({ root, log: collectLogs().log });
  const fake = await fakeLayer(store, 8, 30_000);
  const layer: LayerData = await store.openLayer(fake.key);
  const tarPath = store.temporaryPath();
  await writeFile(tarPath, fake.bytes);
  await fillLayer(layer, { tarPath, order });
  return fake;
}

/** What a power failure leaves: a map that says open, and a byte that never reached the disk. */
async function damage(root: string, key: string, atBytes: number): Promise<void> {
  await using store = await LayerStore.open({ root, log: collectLogs().log });
  const { data, map } = store.paths(key);
  await (await SpanMap.open(map, 8)).map[Symbol.asyncDispose]();
  await using file = await open(data, 'r+');
  await file.write(new Uint8Array([1, 2, 3]), 0, 3, atBytes);
}
