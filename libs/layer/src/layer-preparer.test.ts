import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { after, before, describe, it, type TestContext } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { collectLogs } from '@soci/log';
import { ZtocBuilder } from '@soci/ztoc';
import { LayerEngine } from './engine.ts';
import type { LayerData } from './layer-data.ts';
import { LayerPreparer } from './layer-preparer.ts';
import { layerKey } from './layer-key.ts';
import type { LayerStore } from './layer-store.ts';
import { readSpanIndex, sealSpanIndex } from './span-index.ts';
import { openStore, temporaryFolder } from './testing/fake-layer.ts';
import { FakeReplies } from './testing/fake-replies.ts';
import { FakeSource } from './testing/fake-source.ts';
import { sampleTar } from './testing/sample-tar.ts';

const signal = new AbortController().signal;
const SOURCE = { reference: 'r.example/a:1', repository: 'a', namespaces: [] };

let tar: Buffer;
let builder: ZtocBuilder;
before(async () => {
  tar = await sampleTar();
  builder = new ZtocBuilder({ threads: 1 });
});
after(() => builder[Symbol.asyncDispose]());

const forms = [
  { name: 'gzip in spans of 32 KiB', algorithm: 'gzip', spanSizeBytes: 32 << 10, pack: () => gzipSync(tar) },
  {
    name: 'gzip of two members',
    algorithm: 'gzip',
    spanSizeBytes: 1 << 16,
    pack: () => Buffer.concat([gzipSync(tar.subarray(0, 300_000)), gzipSync(tar.subarray(300_000))]),
  },
  {
    name: 'plain tar in spans of 700 bytes, so that headers lie in two and three',
    algorithm: 'uncompressed',
    spanSizeBytes: 700,
    pack: () => tar,
  },
  { name: 'plain tar in one span', algorithm: 'uncompressed', spanSizeBytes: 1 << 30, pack: () => tar },
] as const;

interface Prepared {
  readonly store: LayerStore;
  readonly preparer: LayerPreparer;
  readonly key: string;
  readonly blob: Buffer;
  readonly ztoc: Uint8Array;
  readonly fetches: () => number;
  readonly prepare: () => ReturnType<LayerPreparer['prepare']>;
}

async function prepared(t: TestContext, form: (typeof forms)[number]): Promise<Prepared> {
  const store = await openStore(t, await temporaryFolder(t));
  const preparer = new LayerPreparer({ store, log: collectLogs().log });
  t.after(() => preparer[Symbol.asyncDispose]());
  const blob = form.pack();
  const layerDigest = digestOf(blob);
  const path = store.temporaryPath();
  await writeFile(path, blob);
  const { bytes, digest } = await builder.build({ path }, { ...form, buildTool: 'test' }, signal);
  let fetches = 0;
  const fetch = () => {
    fetches++;
    return Promise.resolve(Uint8Array.from(bytes));
  };
  const prepare = () => preparer.prepare({ layerDigest, ztoc: { digest, fetch }, lowers: [] }, signal);
  return { store, preparer, key: layerKey(layerDigest, digest), blob, ztoc: bytes, fetches: () => fetches, prepare };
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** Reads the whole layer through an engine, a few kilobytes at a time. */
async function readThrough(
  t: TestContext,
  layer: LayerData,
  blob: Uint8Array,
  step: number,
): Promise<{ bytes: Buffer; lines: readonly string[]; failures: number }> {
  const source = new FakeSource(new Map([[layer.digest, blob]]));
  const replies = new FakeReplies();
  const { log, lines } = collectLogs();
  const engine = new LayerEngine({ source, replies, log });
  t.after(() => engine[Symbol.asyncDispose]());
  engine.attach(1, layer, () => [SOURCE]);
  const bytes = Buffer.alloc(layer.deviceSizeBytes);
  let failures = 0;
  for (let at = 0, unique = 0; at < layer.deviceSizeBytes; at += step, unique++) {
    engine.onMiss({ slot: 1, uniqueLow: unique, uniqueHigh: 0, offsetBytes: at, sizeBytes: step });
    const reply = await replies.of(unique);
    if ('errno' in reply) failures++;
    else bytes.set(reply.data, at);
  }
  engine.detach(1);
  return { bytes, lines, failures };
}

describe('LayerPreparer', () => {
  for (const form of forms) {
    it(`serves every byte of a layer: ${form.name}`, async (t) => {
      const it = await prepared(t, form);
      const names = await it.prepare();
      assert.equal(names.layerKey, it.key);
      assert.ok(existsSync(names.path));
      const layer = await it.store.openLayer(it.key);
      const { bytes, failures, lines } = await readThrough(t, layer, it.blob, 8192);
      assert.equal(failures, 0, lines.join('\n'));
      const size = layer.index.dataSizeBytes;
      assert.ok(bytes.subarray(0, size).equals(tar.subarray(0, size)));
      assert.ok(tar.subarray(size).every((byte) => byte === 0));
      assert.ok(layer.isFilled);
    });
  }

  it('does not fetch or build what is there, and gives the same slot', async (t) => {
    const it = await prepared(t, forms[0]);
    const [first, second] = await Promise.all([it.prepare(), it.prepare()]);
    assert.deepEqual(first, second);
    assert.equal(it.fetches(), 1);
    await using again = new LayerPreparer({ store: it.store, log: collectLogs().log });
    assert.deepEqual(await again.ensure(it.key, [], signal), first);
    assert.equal(it.fetches(), 1);
  });

  it('makes index and names again when they are damaged', async (t) => {
    const it = await prepared(t, forms[0]);
    const names = await it.prepare();
    const paths = it.store.paths(it.key);
    const [image, index] = [await readFile(names.path), await readFile(paths.index)];
    await writeFile(names.path, image.subarray(0, 1000));
    await truncate(paths.index, 100);
    await using again = new LayerPreparer({ store: it.store, log: collectLogs().log });
    assert.equal((await again.ensure(it.key, [], signal)).slot, names.slot);
    assert.deepEqual(await readFile(names.path), image);
    assert.deepEqual(await readFile(paths.index), index);
  });

  it('fetches a zTOC again that is not what was written, though it can be read', async (t) => {
    const it = await prepared(t, forms[0]);
    const names = await it.prepare();
    const { ztoc } = it.store.paths(it.key);
    const damaged = Uint8Array.from(it.ztoc);
    const at = Buffer.from(damaged.buffer).indexOf('usr/bin/tool');
    damaged[at] = 'X'.charCodeAt(0);
    await writeFile(ztoc, damaged);
    await using again = new LayerPreparer({ store: it.store, log: collectLogs().log });
    await assert.rejects(again.ensure(it.key, [], signal), { code: 'STORE_BROKEN' });
    const fetch = () => Promise.resolve(Uint8Array.from(it.ztoc));
    const request = { layerDigest: names.layerDigest, ztoc: { digest: digestOf(it.ztoc), fetch }, lowers: [] };
    assert.deepEqual(await again.prepare(request, signal), names);
    assert.deepEqual(new Uint8Array(await readFile(ztoc)), it.ztoc);
  });

  it('says which layer below is missing by a code that lets the image be planned again', async (t) => {
    const it = await prepared(t, forms[0]);
    const gone = layerKey(`sha256:${'e'.repeat(64)}`, `sha256:${'f'.repeat(64)}`);
    const fetch = () => Promise.resolve(Uint8Array.from(it.ztoc));
    const request = { layerDigest: digestOf(it.blob), ztoc: { digest: digestOf(it.ztoc), fetch }, lowers: [gone] };
    await assert.rejects(it.preparer.prepare(request, signal), { code: 'NOT_FOUND' });
  });

  it('says what is wrong with a zTOC', async (t) => {
    const it = await prepared(t, forms[0]);
    const layerDigest = digestOf(it.blob);
    const prepare = (bytes: Uint8Array, digest: string) =>
      it.preparer.prepare({ layerDigest, ztoc: { digest, fetch: () => Promise.resolve(Uint8Array.from(bytes)) }, lowers: [] }, signal);
    await assert.rejects(prepare(it.ztoc, digestOf(tar)), { code: 'DIGEST_MISMATCH' });
    const garbage = Buffer.from('no zTOC at all');
    await assert.rejects(prepare(garbage, digestOf(garbage)), { code: 'ZTOC_INVALID' });
    const cut = it.ztoc.subarray(0, it.ztoc.length - 2000);
    await assert.rejects(prepare(cut, digestOf(cut)), { code: 'ZTOC_INVALID' });
    const ztoc = { digest: digestOf(it.ztoc), fetch: () => Promise.resolve(Uint8Array.from(it.ztoc)) };
    const ofAnother = it.preparer.prepare({ layerDigest, sizeBytes: it.blob.length + 1, ztoc, lowers: [] }, signal);
    await assert.rejects(ofAnother, { code: 'ZTOC_INVALID', message: /blob of/ });
    await it.preparer.prepare({ layerDigest, sizeBytes: it.blob.length, ztoc, lowers: [] }, signal);
  });

  it('gives EIO where the tar says something else than the table of contents', async (t) => {
    for (const form of [forms[0], forms[2]]) {
      const it = await prepared(t, form);
      await it.prepare();
      const { index: path } = it.store.paths(it.key);
      const index = readSpanIndex(await readFile(path));
      (index.splitCount > 0 ? index.splitDigests : index.headerDigests)[3]! ^= 1;
      sealSpanIndex(index);
      await writeFile(path, new Uint8Array(index.shared));
      const { failures, lines, bytes } = await readThrough(t, await it.store.openLayer(it.key), it.blob, 4096);
      assert.ok(failures > 0);
      assert.ok(lines.some((line) => line.includes('tar headers differ from the table of contents')));
      assert.ok(
        bytes.subarray(0, 512).every((byte, i) => byte === 0 || byte === tar[i]),
        'no wrong bytes',
      );
    }
  });

  it('refuses to inflate with a damaged zTOC', async (t) => {
    const it = await prepared(t, forms[0]);
    await it.prepare();
    const { ztoc, index: path } = it.store.paths(it.key);
    const index = readSpanIndex(await readFile(path));
    const bytes = await readFile(ztoc);
    const at = index.windowOffsetBytes[2]!;
    bytes.fill(1, at, at + 32_768);
    await writeFile(ztoc, bytes);
    const { failures, lines } = await readThrough(t, await it.store.openLayer(it.key), it.blob, 32 << 10);
    assert.ok(failures >= 1 && failures <= 3);
    assert.ok(lines.some((line) => line.includes('zTOC on disk is damaged')));
  });

  const wholes = [
    { name: 'gzip', pack: () => gzipSync(tar) },
    { name: 'gzip of two members', pack: () => Buffer.concat([gzipSync(tar.subarray(0, 5000)), gzipSync(tar.subarray(5000))]) },
    { name: 'zstd', pack: () => zstdCompressSync(tar) },
    { name: 'plain', pack: () => tar },
  ];
  for (const { name, pack } of wholes) {
    it(`fetches a layer without a zTOC whole: ${name}`, async (t) => {
      const store = await openStore(t, await temporaryFolder(t));
      await using preparer = new LayerPreparer({ store, log: collectLogs().log });
      const blob = pack();
      const source = new FakeSource(new Map([[digestOf(blob), blob]]));
      const request = { layerDigest: digestOf(blob), sizeBytes: blob.length, diffId: digestOf(tar), lowers: [], image: SOURCE, source };
      const [names, same] = await Promise.all([preparer.prepareWhole(request, signal), preparer.prepareWhole(request, signal)]);
      assert.equal(names.slot, same.slot);
      assert.equal(source.requests.length, 1);
      const layer = await store.openLayer(names.layerKey);
      assert.ok(layer.isFilled);
      const data = await readFile(layer.paths.data);
      assert.ok(data.subarray(0, tar.length).equals(tar));
      await store.release(layer);
      await using again = new LayerPreparer({ store, log: collectLogs().log });
      assert.equal((await again.prepareWhole(request, signal)).slot, names.slot);
      assert.equal(source.requests.length, 1);
      assert.ok((await store.openLayer(names.layerKey)).isComplete);
    });
  }

  it('refuses a whole layer with other bytes, another content, or none', async (t) => {
    const store = await openStore(t, await temporaryFolder(t));
    await using preparer = new LayerPreparer({ store, log: collectLogs().log });
    const blob = gzipSync(tar);
    const source = new FakeSource(new Map([[digestOf(blob), blob]]));
    const request = { layerDigest: digestOf(blob), sizeBytes: blob.length, lowers: [], image: SOURCE, source };
    source.fault = () => ({ kind: 'flip-byte', atBytes: blob.length - 3 });
    await assert.rejects(preparer.prepareWhole(request, signal));
    source.fault = () => ({ kind: 'none' });
    await assert.rejects(preparer.prepareWhole({ ...request, diffId: digestOf(blob) }, signal), { code: 'DIGEST_MISMATCH' });
    const noise = gzipSync(Buffer.alloc(100_000, 'no tar'));
    const noisy = new FakeSource(new Map([[digestOf(noise), noise]]));
    await assert.rejects(
      preparer.prepareWhole({ ...request, layerDigest: digestOf(noise), sizeBytes: noise.length, source: noisy }, signal),
      { code: 'NOT_SERVABLE' },
    );
    assert.equal((await preparer.prepareWhole(request, signal)).slot, 1);
  });
});
