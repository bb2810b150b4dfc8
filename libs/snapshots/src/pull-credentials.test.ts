import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inPrivateNamespace } from '@soci/linux/testing';
import type { RunningSnapshotter } from './create-snapshotter.ts';
import { expected, makeNode, pull, sha256, type TestNode } from './testing/test-node.ts';

const signal = new AbortController().signal;
const LAZY = ['ALREADY_EXISTS', 'ALREADY_EXISTS', 'ALREADY_EXISTS'];
const LEFT_TO_RUNTIME = ['mounts', 'mounts', 'mounts'];
/** Another image with the same layers. */
const OTHER = 'other.example.com/app:2';
const REFERENCE = 'registry.example.com/app:1';

function asked({ source }: TestNode, what: string): number {
  return source.asked.filter((text) => text === what).length;
}

/** Reads a file of the n-th snapshot, and checks what is read. */
async function read(node: TestNode, snapshot: number, layer: number, file: string): Promise<void> {
  const path = join(node.root, `snapshotter/snapshots/${snapshot}/fs/app/${file}`);
  assert.equal(await sha256(path), expected(node.source, layer, `app/${file}`));
}

async function removeImage({ snapshotter }: RunningSnapshotter, namespace: string): Promise<void> {
  for (const index of [2, 1, 0]) await snapshotter.remove(`sha256:${namespace}-chain-${index}`, signal);
  await snapshotter.cleanup(signal);
}

inPrivateNamespace(import.meta.filename, () => {
  describe('Prepare, with credentials that are not ready', () => {
    it('waits once for an image of several layers, then leaves it to the runtime', async (t) => {
      const node = await makeNode(t, 'twice', { notReadyWaitMs: 1_000 });
      await using running = await node.start();
      node.source.fault = () => 'CREDENTIALS_NOT_READY';
      const started = performance.now();
      assert.deepEqual((await pull(running, node.source)).codes, LEFT_TO_RUNTIME);
      const took = performance.now() - started;
      assert.ok(took >= 1_000 && took < 2_500, `${took} ms`);
      assert.match(node.logs.lines.join('\n'), /credentials were not ready within 1000 ms/);
    });

    it('goes on at once when they are', async (t) => {
      const node = await makeNode(t, 'twice');
      await using running = await node.start();
      node.source.fault = () => 'CREDENTIALS_NOT_READY';
      const pulled = pull(running, node.source);
      while (asked(node, 'resolve') === 0) await sleep(5);
      await sleep(150);
      node.source.fault = () => undefined;
      const started = performance.now();
      node.source.tell();
      assert.deepEqual((await pulled).codes, LAZY);
      assert.ok(performance.now() - started < 900, 'sooner than it would be asked again without a word'); // preparing three layers included
    });
  });

  describe('Prepare, with a refused credential', () => {
    it('leaves the image to the runtime at once and asks no more', async (t) => {
      const node = await makeNode(t, 'twice');
      await using running = await node.start();
      node.source.fault = () => 'UNAUTHORIZED';
      assert.deepEqual((await pull(running, node.source)).codes, LEFT_TO_RUNTIME);
      assert.deepEqual(node.source.asked, ['resolve']);
    });
  });

  describe('a lazy read', () => {
    it('waits while its credential is refused, and goes on at a change', async (t) => {
      const node = await makeNode(t, 'twice');
      await using running = await node.start();
      await pull(running, node.source);
      node.source.fault = () => 'UNAUTHORIZED';
      const reading = read(node, 3, 2, '26');
      while (node.source.reads.length < 4) await sleep(5);
      await sleep(50);
      node.source.fault = () => undefined;
      const started = performance.now();
      node.source.tell({ hosts: ['registry.example.com'] });
      await reading;
      const took = performance.now() - started;
      assert.ok(took < 900, `${took} ms, the time of the reading process included`);
    });

    it('is on behalf of the namespaces that pulled the image, also after a restart, and of those that pulled it later', async (t) => {
      const node = await makeNode(t, 'twice');
      node.source.namespaces = ['team-a'];
      {
        await using running = await node.start();
        await pull(running, node.source);
      }
      node.source.namespaces = [];
      {
        await using running = await node.start();
        await read(node, 1, 0, '26');
        assert.deepEqual(node.source.reads[0], { reference: REFERENCE, namespaces: ['team-a'] });
        node.source.namespaces = ['team-b']; // the image is here: the pull comes without a Prepare
        node.source.tell({ hosts: ['registry.example.com'] });
        await sleep(20);
        node.source.reads.length = 0;
        assert.equal((await running.opened).mode, 'erofs');
      }
      node.source.namespaces = [];
      await using running = await node.start();
      assert.equal((await running.opened).mode, 'erofs');
      await read(node, 2, 1, '27');
      assert.deepEqual(node.source.reads[0].namespaces, ['team-b', 'team-a']);
      assert.deepEqual(running.namespacesOf(REFERENCE), ['team-b', 'team-a']);
      assert.deepEqual(running.namespacesOf('registry.example.com/other:1'), []);
    });

    it('goes through the image that was pulled last, through the other one where that is refused, and never through one that was removed', async (t) => {
      const node = await makeNode(t, 'twice');
      await using running = await node.start();
      await pull(running, node.source, 'a', REFERENCE);
      await pull(running, node.source, 'b', OTHER);
      const references = (): string[] => node.source.reads.splice(0).map(({ reference }) => reference);
      node.source.fault = (reference) => (reference === OTHER ? 'DENIED' : undefined);
      await read(node, 1, 0, '26');
      assert.deepEqual([...new Set(references())], [OTHER, REFERENCE]);

      node.source.fault = () => undefined;
      node.source.tell();
      await removeImage(running, 'b');
      await read(node, 2, 1, '27');
      assert.deepEqual([...new Set(references())], [REFERENCE]);
    });

    it('still finds its image when that is pulled again right after it was removed', async (t) => {
      const node = await makeNode(t, 'twice');
      await using running = await node.start();
      await pull(running, node.source, 'a');
      await removeImage(running, 'a');
      assert.deepEqual((await pull(running, node.source, 'a')).codes, LAZY);
      await read(node, 4, 0, '26');
      assert.deepEqual(node.source.reads.at(-1)?.reference, REFERENCE);
    });
  });
});
