import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseMountInfo, Syscalls } from '@soci/linux';
import { inPrivateNamespace } from '@soci/linux/testing';
import { collectLogs } from '@soci/log';
import { mountedOver } from './mounted-over.ts';
import { SnapshotDirectories } from './snapshot-directories.ts';
import type { Mount } from './snapshot.ts';
import { Snapshotter } from './snapshotter.ts';
import { SqliteMetadataStore } from './sqlite-metadata-store.ts';

const signal = new AbortController().signal;
const SNAPSHOTS = '/var/lib/soci/snapshotter/snapshots';
const fs = (id: number): string => `${SNAPSHOTS}/${id}/fs`;

describe('mountedOver', () => {
  const mounts = parseMountInfo(
    [
      `30 1 0:50 / ${fs(3)} ro - erofs /var/lib/soci/fuse/1.names ro,device=/var/lib/soci/fuse/1.bytes`,
      `31 1 0:51 / /run/c/rootfs rw - overlay overlay rw,lowerdir=${fs(3)}:${fs(2)},upperdir=${fs(4)},workdir=${SNAPSHOTS}/4/work`,
      `32 1 0:52 / /run/d/rootfs rw - overlay overlay rw,lowerdir+=${fs(5)},lowerdir+=${fs(6)}`,
      '33 1 8:1 /lib/soci/snapshotter/snapshots/7/fs /run/e ro - ext4 /dev/sdb1 rw',
      `34 1 0:53 / /run/f rw - overlay overlay rw,lowerdir=8/fs:9/fs,upperdir=${fs(10)},workdir=${SNAPSHOTS}/10/work`,
      '35 1 8:2 /srv/other/snapshots/11/fs /run/g ro - ext4 /dev/sdc1 rw',
    ].join('\n'),
  );
  const cases = [
    { id: 3, users: ['/run/c/rootfs'] },
    { id: 2, users: ['/run/c/rootfs'] },
    { id: 4, users: ['/run/c/rootfs'] },
    { id: 5, users: ['/run/d/rootfs'] },
    { id: 6, users: ['/run/d/rootfs'] },
    { id: 7, users: ['/run/e'] },
    { id: 8, users: [] }, // told by a relative path alone; 10 holds it
    { id: 10, users: ['/run/f'] },
    { id: 11, users: [] }, // of another snapshotter
    { id: 30, users: [] },
  ];
  for (const { id, users } of cases) it(`finds who has snapshot ${id}`, () => assert.deepEqual(mountedOver(fs(id), mounts), users));
});

inPrivateNamespace(import.meta.filename, () => {
  describe('Remove of a snapshot', () => {
    it('is refused while a container has it mounted', async (t) => {
      const root = await mkdtemp('/var/tmp/soci-remove-');
      const calls = new Syscalls();
      const store = new SqliteMetadataStore({ path: join(root, 'metadata.db') });
      t.after(async () => {
        store[Symbol.dispose]();
        await calls[Symbol.asyncDispose]();
        await rm(root, { recursive: true });
      });
      const directories = await SnapshotDirectories.open(root);
      const snapshotter = new Snapshotter({ store, directories, calls, log: collectLogs().log });
      const target = join(root, 'rootfs');
      await mkdir(target);
      await snapshotter.prepare({ key: 'a', parent: '', labels: {} }, signal);
      await snapshotter.commit('a', 'layer', { labels: {} }, signal);
      const mount = async ([given]: readonly Mount[]): Promise<void> => {
        assert.ok(given);
        if (given.type === 'bind') await calls.bindMount(given.source, target);
        else await calls.mount({ source: 'overlay', target, type: 'overlay', data: given.options.join(',') });
      };
      for (const make of ['prepare', 'view'] as const) {
        await mount(await snapshotter[make]({ key: make, parent: 'layer', labels: {} }, signal));
        if (make === 'prepare')
          await assert.rejects(snapshotter.remove(make, signal), { code: 'FAILED_PRECONDITION', message: /in use at .*rootfs/ });
        else await snapshotter.remove(make, signal); // nothing of its own is mounted
        await assert.rejects(snapshotter.remove('layer', signal), { code: 'FAILED_PRECONDITION' });
        await calls.umount(target);
        if (make === 'prepare') await snapshotter.remove(make, signal);
      }
      await snapshotter.remove('layer', signal);
      await snapshotter.cleanup(signal);
      assert.deepEqual(await directories.names(), []);
    });
  });
});
