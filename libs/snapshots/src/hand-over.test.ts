import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { inPrivateNamespace } from '@soci/linux/testing';
import { expected, lazyMounts, makeNode, pull, sha256, type TestNode } from './testing/test-node.ts';

const signal = new AbortController().signal;

/** The lines of the mount table that are about the node. */
function mountTable({ root }: TestNode): readonly string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(root));
}

function fileOf({ root }: TestNode, id: number, name: string): string {
  return join(root, 'snapshotter/snapshots', String(id), 'fs', name);
}

inPrivateNamespace(import.meta.filename, () => {
  describe('a snapshotter that follows another one', () => {
    it('goes on with its mounts as they are, also with the registry down', async (t) => {
      const node = await makeNode(t, 'twice', { isKept: true });
      {
        await using running = await node.start();
        await pull(running, node.source);
        await sha256(fileOf(node, 1, 'app/26'));
      }
      const before = mountTable(node);
      assert.equal(lazyMounts(node.root).length, 3);
      node.source.isDown = true;
      await using running = await node.start();
      assert.deepEqual(mountTable(node), before);
      assert.deepEqual(running.view.state().restore, { phase: 'finished', total: 3, restored: 3, notRestored: [] });
      assert.match((await running.opened).continuity, /^(resend|journal)$/);
      assert.equal(await sha256(fileOf(node, 1, 'app/26')), expected(node.source, 0, 'app/26'));
      node.source.isDown = false;
      assert.equal(await sha256(fileOf(node, 2, 'app/noise')), expected(node.source, 1, 'app/noise'));
      await running.snapshotter.prepare({ key: 'k8s.io/9/c', parent: 'sha256:k8s.io-chain-2', labels: {} }, signal);
      await running.view.probe(signal);
      assert.deepEqual((await pull(running, node.source, 'other')).codes, ['ALREADY_EXISTS', 'ALREADY_EXISTS', 'ALREADY_EXISTS']);
      assert.equal(lazyMounts(node.root).length, 6);
    });

    it('answers a reader that came while nobody was there', async (t) => {
      const node = await makeNode(t, 'twice', { isKept: true });
      {
        await using running = await node.start();
        await pull(running, node.source);
      }
      const reader = spawn('sha256sum', [fileOf(node, 2, 'app/noise')], { stdio: ['ignore', 'pipe', 'inherit'] });
      const output = once(reader.stdout, 'data') as Promise<[Buffer]>;
      await new Promise((resolve) => setTimeout(resolve, 300));
      assert.equal(reader.exitCode, null);
      await using running = await node.start();
      assert.equal((await output)[0].toString().slice(0, 64), expected(node.source, 1, 'app/noise'));
      assert.equal(running.view.state().readsWaiting, 0);
    });

    it('takes away what belongs to no snapshot, and makes anew what is gone', async (t) => {
      const node = await makeNode(t, 'twice', { isKept: true });
      {
        await using running = await node.start();
        await pull(running, node.source);
        await pull(running, node.source, 'other');
        for (const index of [2, 1, 0]) await running.snapshotter.remove(`sha256:other-chain-${index}`, signal); // and no cleanup
      }
      execFileSync('umount', ['-l', join(node.root, 'snapshotter/snapshots/3/fs')]);
      await using running = await node.start();
      assert.deepEqual(
        lazyMounts(node.root).toSorted(),
        [1, 2, 3].map((id) => join(node.root, 'snapshotter/snapshots', String(id), 'fs')),
      );
      assert.deepEqual((await readdir(join(node.root, 'snapshotter/snapshots'))).toSorted(), ['1', '2', '3']);
      assert.equal(await sha256(fileOf(node, 3, 'app/26')), expected(node.source, 2, 'app/26'));
      assert.equal(running.view.state().restore.restored, 3);
    });

    it('makes all mounts anew when the FUSE mount is gone, though there is one of the same names', async (t) => {
      const node = await makeNode(t, 'twice');
      {
        await using running = await node.start();
        await pull(running, node.source);
      }
      const before = mountTable(node).filter((line) => line.includes('erofs'));
      assert.equal(before.length, 3);
      await using running = await node.start();
      const after = mountTable(node).filter((line) => line.includes('erofs'));
      assert.equal(after.length, 3);
      assert.equal(await sha256(fileOf(node, 1, 'app/26')), expected(node.source, 0, 'app/26'));
      assert.equal(running.view.state().restore.restored, 3);
    });

    it('tells which snapshots are not mounted, mounts one when it is used, and forgets one that is removed', async (t) => {
      const node = await makeNode(t, 'twice');
      {
        await using running = await node.start();
        await pull(running, node.source);
      }
      for (const path of lazyMounts(node.root)) execFileSync('umount', ['-l', path]);
      await rm(join(node.root, 'layers'), { recursive: true });
      await rm(join(node.root, 'snapshotter/decisions.db'));
      node.source.isDown = true;
      await using running = await node.start();
      const { view, snapshotter } = running;
      const notRestored = (): readonly string[] => view.state().restore.notRestored.map(({ key }) => key);
      assert.deepEqual(
        notRestored().toSorted(),
        [0, 1, 2].map((index) => `sha256:k8s.io-chain-${index}`),
      );
      assert.equal(view.state().restore.phase, 'finished');
      assert.ok(view.state().restore.notRestored.every(({ layerDigest, reason }) => layerDigest !== '' && reason !== ''));
      await snapshotter.remove('sha256:k8s.io-chain-2', signal);
      await snapshotter.cleanup(signal);
      assert.equal(notRestored().length, 2);
      node.source.isDown = false;
      await snapshotter.prepare({ key: 'k8s.io/9/c', parent: 'sha256:k8s.io-chain-1', labels: {} }, signal);
      assert.deepEqual(notRestored(), []);
    });

    it('does not look an image up again whose pull was cut off', async (t) => {
      const node = await makeNode(t, 'twice', { isKept: true });
      {
        await using running = await node.start();
        await pull(running, node.source, 'k8s.io');
      }
      node.source.asked.length = 0;
      await using running = await node.start();
      assert.deepEqual((await pull(running, node.source, 'k8s.io')).codes, ['ALREADY_EXISTS', 'ALREADY_EXISTS', 'ALREADY_EXISTS']);
      assert.deepEqual(
        node.source.asked.filter((what) => what === 'resolve'),
        [],
      );
    });
  });
});
