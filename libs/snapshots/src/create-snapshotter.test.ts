import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readdir, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseConfig } from '@soci/config';
import { inPrivateNamespace } from '@soci/linux/testing';
import { createSnapshotter } from './create-snapshotter.ts';
import { LABEL } from './labels.ts';
import { CONFIG, expected, filesOf, GOOD_KERNEL, lazyMounts, makeNode, mountsBelow, pull, sha256 } from './testing/test-node.ts';

const signal = new AbortController().signal;

inPrivateNamespace(import.meta.filename, () => {
  describe('createSnapshotter', () => {
    it('serves an image before it is there, and each layer once', async (t) => {
      const node = await makeNode(t, 'twice');
      await using running = await node.start();
      assert.deepEqual(await running.opened, { mode: 'erofs', reason: 'not asked', continuity: '' });
      const { codes, top } = await pull(running, node.source);
      assert.deepEqual(codes, ['ALREADY_EXISTS', 'ALREADY_EXISTS', 'ALREADY_EXISTS'], node.logs.lines.join('\n'));
      assert.deepEqual(
        node.source.asked.filter((what) => what.startsWith('read')),
        [],
      );
      assert.equal(node.source.asked.filter((what) => what === 'resolve').length, 1);
      const [mount] = await running.snapshotter.view({ key: 'k8s.io/9/view', parent: top, labels: {} }, signal);
      const lowers = mount?.options[0]?.replace('lowerdir=', '').split(':') ?? [];
      assert.equal(lowers.length, 3);
      assert.equal(await sha256(join(lowers[0] ?? '', 'app/26')), expected(node.source, 2, 'app/26'));
      assert.equal(await sha256(join(lowers[1] ?? '', 'app/27')), expected(node.source, 1, 'app/27'));
      assert.equal(await sha256(join(lowers[2] ?? '', 'app/noise')), expected(node.source, 0, 'app/noise'));
    });

    it('fetches a layer without a zTOC whole, and mounts it like the others', async (t) => {
      const node = await makeNode(t, 'small-and-large');
      await using running = await node.start();
      const { codes } = await pull(running, node.source);
      assert.deepEqual(codes, ['ALREADY_EXISTS', 'ALREADY_EXISTS'], node.logs.lines.join('\n'));
      assert.deepEqual(
        node.source.asked.filter((what) => what.startsWith('read')),
        [`read ${node.source.layers[0] ?? ''}`],
      );
      node.source.isDown = true;
      const files = filesOf(node.source, 0);
      assert.ok(files.length > 0);
      for (const file of files.slice(0, 3)) {
        assert.equal(await sha256(join(node.root, 'snapshotter/snapshots/1/fs', file)), expected(node.source, 0, file));
      }
    });

    it('takes mounts and files of a layer away with its last snapshot', async (t) => {
      const node = await makeNode(t, 'twice');
      await using running = await node.start();
      const { snapshotter } = running;
      const [first, second] = [await pull(running, node.source, 'a'), await pull(running, node.source, 'b')];
      assert.equal(lazyMounts(node.root).length, 6);
      const removeAll = async (namespace: string): Promise<void> => {
        for (const index of [2, 1, 0]) await snapshotter.remove(`sha256:${namespace}-chain-${index}`, signal);
        await snapshotter.cleanup(signal);
      };
      assert.equal(first.codes.length + second.codes.length, 6);
      await removeAll('a');
      assert.equal(lazyMounts(node.root).length, 3);
      assert.equal(await sha256(join(node.root, 'snapshotter/snapshots/6/fs/app/26')), expected(node.source, 2, 'app/26'));
      await removeAll('b');
      assert.deepEqual(lazyMounts(node.root), []);
      assert.deepEqual(await readdir(join(node.root, 'snapshotter/snapshots')), []);
      assert.deepEqual(await readdir(join(node.root, 'layers/layers')), []);
      assert.deepEqual((await pull(running, node.source, 'c')).codes, ['ALREADY_EXISTS', 'ALREADY_EXISTS', 'ALREADY_EXISTS']);
      assert.equal(lazyMounts(node.root).length, 3);
    });

    it('mounts everything again after a restart, with the registry down, and fetches on once it is back', async (t) => {
      const node = await makeNode(t, 'twice');
      {
        await using running = await node.start();
        await pull(running, node.source);
        await sha256(join(node.root, 'snapshotter/snapshots/1/fs/app/26'));
      }
      node.source.isDown = true;
      await using running = await node.start();
      assert.equal(lazyMounts(node.root).length, 3);
      const read = join(node.root, 'snapshotter/snapshots/1/fs/app/26');
      assert.equal(await sha256(read), expected(node.source, 0, 'app/26'));
      const unread = join(node.root, 'snapshotter/snapshots/2/fs/app/noise');
      await assert.rejects(sha256(unread), /Input\/output error/);
      node.source.isDown = false;
      await new Promise((resolve) => setTimeout(resolve, 1_100)); // a span that failed is refused for a second
      assert.equal(await sha256(unread), expected(node.source, 1, 'app/noise'));
      await running.snapshotter.prepare({ key: 'k8s.io/9/c', parent: 'sha256:k8s.io-chain-2', labels: {} }, signal);
    });

    it('needs neither FUSE nor registry for layers that are complete', async (t) => {
      const node = await makeNode(t, 'twice');
      {
        await using running = await node.start();
        await pull(running, node.source);
        for (const [id, file] of [
          [1, '26'],
          [1, 'noise'],
          [2, '27'],
          [2, 'noise'],
        ] as const) {
          await sha256(join(node.root, `snapshotter/snapshots/${id}/fs/app/${file}`));
        }
        await new Promise((resolve) => setTimeout(resolve, 300));
      }
      node.source.isDown = true;
      {
        await using running = await node.start();
        assert.equal((await running.opened).mode, 'erofs');
        const sources = readFileSync('/proc/self/mounts', 'utf8')
          .split('\n')
          .filter((line) => line.includes(join(node.root, 'snapshotter')))
          .map((line) => line.split(' ')[0] ?? '');
        assert.equal(sources.length, 3);
        assert.ok(
          sources.every((source) => source.startsWith(join(node.root, 'layers'))),
          sources.join('\n'),
        );
      }
      assert.equal(await sha256(join(node.root, 'snapshotter/snapshots/2/fs/app/27')), expected(node.source, 1, 'app/27'));
      await using running = await node.start();
      assert.equal(lazyMounts(node.root).length, 3);
      await running.snapshotter.prepare({ key: 'k8s.io/9/c', parent: 'sha256:k8s.io-chain-2', labels: {} }, signal);
    });

    it('leaves an image without an index to the runtime, with one warning', async (t) => {
      const node = await makeNode(t, 'twice');
      node.source.hasIndex = false;
      await using running = await node.start();
      assert.deepEqual((await pull(running, node.source)).codes, ['mounts', 'mounts', 'mounts']);
      assert.deepEqual(node.source.asked, ['resolve']);
      const told = node.logs.lines.filter((line) => line.includes('no valid SOCI index found; deferring to container runtime'));
      assert.deepEqual(
        told.map((line) => (JSON.parse(line) as { level: string }).level),
        ['warning', 'info', 'info'],
      );
    });

    it('keeps a snapshot that cannot be mounted, tries again on use, and removes it', async (t) => {
      const node = await makeNode(t, 'twice');
      {
        await using running = await node.start();
        await pull(running, node.source);
      }
      for (const path of mountsBelow(node.root)) execFileSync('umount', ['-l', path]);
      await rm(join(node.root, 'layers'), { recursive: true });
      node.source.isDown = true;
      await using running = await node.start();
      const { snapshotter } = running;
      assert.equal(snapshotter.list([]).length, 3);
      const use = { key: 'k8s.io/9/c', parent: 'sha256:k8s.io-chain-2', labels: {} };
      await assert.rejects(snapshotter.prepare(use, signal), { code: 'UNAVAILABLE' });
      node.source.isDown = false;
      await new Promise((resolve) => setTimeout(resolve, 5_100)); // a refused image is asked about again after that
      await snapshotter.prepare(use, signal);
      assert.equal(await sha256(join(node.root, 'snapshotter/snapshots/2/fs/app/27')), expected(node.source, 1, 'app/27'));
      for (const name of ['k8s.io/9/c', ...[2, 1, 0].map((index) => `sha256:k8s.io-chain-${index}`)])
        await snapshotter.remove(name, signal);
      await snapshotter.cleanup(signal);
      assert.deepEqual(lazyMounts(node.root), []);
    });

    it('plans an image anew whose layers went and came back with another one', async (t) => {
      const node = await makeNode(t, 'twice');
      await using running = await node.start();
      const { snapshotter } = running;
      await pull(running, node.source, 'a');
      for (const index of [2, 1, 0]) await snapshotter.remove(`sha256:a-chain-${index}`, signal);
      await snapshotter.cleanup(signal);
      await pull(running, node.source, 'b');
      assert.deepEqual((await pull(running, node.source, 'a')).codes, ['ALREADY_EXISTS', 'ALREADY_EXISTS', 'ALREADY_EXISTS']);
      assert.equal(lazyMounts(node.root).length, 6);
    });

    it('fetches a whole layer again whose data was not written down when the process was killed', async (t) => {
      const node = await makeNode(t, 'small-and-large');
      {
        await using running = await node.start();
        await pull(running, node.source);
      }
      const layers = join(node.root, 'layers/layers');
      const [whole = ''] = (await readdir(layers)).filter((name) => name.endsWith('-whole'));
      await rm(join(layers, whole, 'map'));
      for (const path of mountsBelow(node.root)) execFileSync('umount', ['-l', path]);
      await using running = await node.start();
      assert.match(node.logs.lines.join('\n'), /failed to restore remote snapshot/);
      await running.snapshotter.prepare({ key: 'k8s.io/9/c', parent: 'sha256:k8s.io-chain-1', labels: {} }, signal);
      const [file = ''] = filesOf(node.source, 0);
      assert.equal(await sha256(join(node.root, 'snapshotter/snapshots/1/fs', file)), expected(node.source, 0, file));
    });

    it('mounts a layer once that several ask for at the same time', async (t) => {
      const node = await makeNode(t, 'twice');
      {
        await using running = await node.start();
        await pull(running, node.source);
      }
      for (const path of mountsBelow(node.root)) execFileSync('umount', ['-l', path]);
      await rm(join(node.root, 'layers'), { recursive: true });
      await using running = await node.start();
      const use = (n: number): Promise<unknown> =>
        running.snapshotter.prepare({ key: `k8s.io/9/${n}`, parent: 'sha256:k8s.io-chain-2', labels: {} }, signal);
      await Promise.all([use(1), use(2), use(3)]);
      assert.equal(lazyMounts(node.root).length, 3);
    });

    it('deletes, after a while, layers that were prepared for a pull that was given up', async (t) => {
      const node = await makeNode(t, 'twice');
      await using running = await node.start();
      const { snapshotter } = running;
      const [layerDigest = ''] = node.source.layers;
      const labels = {
        [LABEL.target]: 'sha256:chain-0',
        [LABEL.imageRef]: 'registry.example.com/app:1',
        [LABEL.manifestDigest]: node.source.manifestDigest,
        [LABEL.layerDigest]: layerDigest,
      };
      await assert.rejects(snapshotter.prepare({ key: 'k8s.io/1/x', parent: '', labels }, signal), { code: 'ALREADY_EXISTS' });
      const layers = join(node.root, 'layers/layers');
      assert.equal((await readdir(layers)).length, 2);
      await snapshotter.cleanup(signal);
      assert.equal((await readdir(layers)).length, 2);
      const longAgo = new Date(Date.now() - 3_600_000);
      for (const name of await readdir(layers)) await utimes(join(layers, name), longAgo, longAgo);
      await snapshotter.cleanup(signal);
      assert.equal((await readdir(layers)).length, 1);
      assert.equal(await sha256(join(node.root, 'snapshotter/snapshots/1/fs/app/26')), expected(node.source, 0, 'app/26'));
    });

    it('says so when its FUSE mount is taken away', async (t) => {
      const node = await makeNode(t, 'twice');
      const broken = Promise.withResolvers<Error>();
      await using running = await node.start(GOOD_KERNEL, broken.resolve);
      assert.equal((await running.opened).mode, 'erofs');
      execFileSync('umount', [join(node.root, 'fuse')]);
      assert.match((await broken.promise).message, /FUSE mount/);
    });

    it('pulls plainly where there is no FUSE device, and says why', async (t) => {
      const node = await makeNode(t, 'twice');
      const config = parseConfig(CONFIG, 'test').config;
      const fuse = { kind: 'none', reason: '/dev/fuse: no such device' } as const;
      await using running = await createSnapshotter({ root: node.root, fuse, fetcher: node.source, config, log: node.logs.log }, signal);
      assert.deepEqual(await running.opened, { mode: 'plain', reason: '/dev/fuse: no such device', continuity: '' });
      assert.deepEqual((await pull(running, node.source)).codes, ['mounts', 'mounts', 'mounts']);
      assert.match(node.logs.lines.join('\n'), /"mode":"plain","reason":"\/dev\/fuse: no such device"/);
    });

    it('pulls plainly where the kernel does not serve layers rightly', async (t) => {
      const node = await makeNode(t, 'twice');
      await using running = await node.start({ mode: 'none', reason: 'a read after a reader was killed gave wrong bytes' });
      assert.equal((await running.opened).mode, 'plain');
      assert.deepEqual((await pull(running, node.source)).codes, ['mounts', 'mounts', 'mounts']);
      assert.deepEqual(node.source.asked, []);
    });

    it('refuses a root that another process has', async (t) => {
      const node = await makeNode(t, 'twice');
      await using running = await node.start();
      assert.ok(running);
      await assert.rejects(node.start(), { code: 'STORE_BUSY' });
    });
  });
});
