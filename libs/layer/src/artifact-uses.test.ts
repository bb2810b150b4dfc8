import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { collectLogs } from '@soci/log';
import { layerKey } from './layer-key.ts';
import { LayerStore } from './layer-store.ts';
import { temporaryFolder } from './testing/fake-layer.ts';

const digest = (digit: string): string => `sha256:${digit.repeat(64)}`;
const KEY = layerKey(digest('a'), digest('b'));
const [ZTOC, INDEX] = [digest('b'), digest('c')];
const IMAGE = { reference: 'r.example/a:1', repository: 'a', namespaces: [] };

function openStore(root: string, now = Date.now): Promise<LayerStore> {
  return LayerStore.open({ root, log: collectLogs().log, now });
}

async function storeWithImage(t: TestContext): Promise<{ store: LayerStore; root: string }> {
  const root = await temporaryFolder(t);
  const store = await openStore(root);
  t.after(() => store[Symbol.asyncDispose]());
  store.artifacts.note(INDEX, IMAGE.reference);
  store.artifacts.note(ZTOC, KEY);
  store.notePrepared(KEY, [], '01');
  store.addSource(digest('a'), IMAGE);
  return { store, root };
}

describe('ArtifactUses', () => {
  it('gives up a zTOC with its layer and an index with its image, once', async (t) => {
    const { store } = await storeWithImage(t);
    assert.deepEqual(store.artifacts.unused(10), []);
    store.removeReference(IMAGE.reference);
    assert.deepEqual(store.artifacts.unused(10), [INDEX]);
    await store.remove(KEY);
    assert.deepEqual(store.artifacts.unused(10).toSorted(), [ZTOC, INDEX]);
    assert.equal(store.artifacts.unused(1).length, 1);
    store.artifacts.forget([ZTOC, INDEX]);
    assert.deepEqual(store.artifacts.unused(10), []);
  });

  it('keeps what another layer or image needs', async (t) => {
    const { store } = await storeWithImage(t);
    const other = layerKey(digest('d'), ZTOC);
    store.artifacts.note(ZTOC, other);
    store.names(other, '01', 0);
    await store.remove(KEY);
    assert.deepEqual(store.artifacts.unused(10), []);
    await store.remove(other);
    assert.deepEqual(store.artifacts.unused(10), [ZTOC]);
  });

  it('keeps what is asked for anew while it is given up', async (t) => {
    const { store } = await storeWithImage(t);
    await store.remove(KEY);
    const unused = store.artifacts.unused(10);
    store.artifacts.note(ZTOC, KEY);
    store.artifacts.forget(unused);
    store.notePrepared(KEY, [], '01');
    await store.remove(KEY);
    assert.ok(store.artifacts.unused(10).includes(ZTOC));
  });

  it('waits for a layer that was asked for, and gives up after a quarter of an hour, also in another process and after the clock was set back', async (t) => {
    for (const minutes of [14, 16, -1]) {
      const root = await temporaryFolder(t);
      {
        await using store = await openStore(root);
        store.artifacts.note(ZTOC, KEY);
      }
      await using store = await openStore(root, () => Date.now() + minutes * 60_000);
      assert.deepEqual(store.artifacts.unused(10), minutes === 14 ? [] : [ZTOC], `${minutes} minutes`);
    }
  });
});
