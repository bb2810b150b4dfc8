import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { MOUNT_FLAGS, mountNow, Syscalls, UMOUNT_FLAGS, umountNow } from '@soci/linux';
import { inPrivateNamespace } from '@soci/linux/testing';
import { collectLogs } from '@soci/log';
import { SnapshotDirectories } from './snapshot-directories.ts';
import type { Mount } from './snapshot.ts';
import { Snapshotter } from './snapshotter.ts';
import { SqliteMetadataStore } from './sqlite-metadata-store.ts';

const signal = new AbortController().signal;

/** Changes a directory: as a container would, or as a layer is unpacked. */
type Change = (root: string) => void;

interface Fixture {
  readonly snapshotter: Snapshotter;
  /** Mounts a snapshot, changes it, and takes the mount away again. */
  readonly within: (mounts: readonly Mount[], work: Change) => void;
  /** Makes a committed snapshot of this change on top of a parent. */
  readonly add: (name: string, parent: string, change: Change) => Promise<void>;
  /** What is seen in a view of a snapshot. */
  readonly see: (name: string, look: Change) => Promise<void>;
}

async function start(t: TestContext): Promise<Fixture> {
  const root = await mkdtemp(join(tmpdir(), 'o-')); // short: all lower directories have to fit one page of mount options
  const calls = new Syscalls();
  const store = new SqliteMetadataStore({ path: join(root, 'metadata.db') });
  const target = join(root, 'm');
  mkdirSync(target);
  t.after(async () => {
    spawnSync('umount', ['-lR', target]);
    store[Symbol.dispose]();
    await calls[Symbol.asyncDispose]();
    await rm(root, { recursive: true });
  });
  const directories = await SnapshotDirectories.open(root);
  const snapshotter = new Snapshotter({ store, directories, calls, log: collectLogs().log });
  const within: Fixture['within'] = (mounts, work) => {
    for (const mount of mounts) mountLikeContainerd(mount, target);
    try {
      work(target);
    } finally {
      umountNow(target, UMOUNT_FLAGS.detach);
    }
  };
  return {
    snapshotter,
    within,
    add: async (name, parent, change) => {
      within(await snapshotter.prepare({ key: `${name}-active`, parent, labels: {} }, signal), change);
      await snapshotter.commit(`${name}-active`, name, { labels: {} }, signal);
    },
    see: async (name, look) => {
      within(await snapshotter.view({ key: `${name}-view`, parent: name, labels: {} }, signal), look);
      await snapshotter.remove(`${name}-view`, signal);
    },
  };
}

function mountLikeContainerd({ type, source, options }: Mount, target: string): void {
  if (type === 'overlay') {
    mountNow({ source, target, type, data: options.join(',') });
    return;
  }
  mountNow({ source, target, flags: MOUNT_FLAGS.bind | MOUNT_FLAGS.recursive });
  if (options.includes('ro')) mountNow({ source, target, flags: MOUNT_FLAGS.bind | MOUNT_FLAGS.remount | MOUNT_FLAGS.readOnly });
}

/** Paths, types, modes, owners and contents below a directory. */
function contents(root: string): readonly string[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((path) => {
      const stat = statSync(join(root, path));
      const content = stat.isFile() ? readFileSync(join(root, path), 'utf8') : '';
      return [path, stat.mode.toString(8), stat.uid, stat.gid, content].join(' ');
    });
}

/** The changes of several layers, each made in a snapshot of its own, look like the same changes made in one directory. */
async function looksLikeOneDirectory(t: TestContext, changes: readonly Change[]): Promise<void> {
  const { add, see } = await start(t);
  const flat = await mkdtemp(join(tmpdir(), 'flat-'));
  t.after(() => rm(flat, { recursive: true }));
  let parent = '';
  for (const [index, change] of changes.entries()) {
    change(flat);
    await add(`c${index}`, parent, change);
    parent = `c${index}`;
    await see(parent, (root) => assert.deepEqual(contents(root), contents(flat)));
  }
}

function file(path: string, content: string, mode = 0o644): Change {
  return (root) => {
    writeFileSync(join(root, path), content);
    chmodSync(join(root, path), mode);
  };
}

function directory(path: string, mode = 0o755): Change {
  return (root) => {
    mkdirSync(join(root, path));
    chmodSync(join(root, path), mode);
  };
}

function all(...changes: readonly Change[]): Change {
  return (root) => {
    for (const change of changes) change(root);
  };
}

const remove =
  (path: string): Change =>
  (root) =>
    rmSync(join(root, path), { recursive: true });
const rename =
  (from: string, to: string): Change =>
  (root) =>
    renameSync(join(root, from), join(root, to));
const link =
  (from: string, to: string): Change =>
  (root) =>
    linkSync(join(root, from), join(root, to));
const chown =
  (path: string, uid: number, gid: number): Change =>
  (root) =>
    chownSync(join(root, path), uid, gid);
const chmod =
  (path: string, mode: number): Change =>
  (root) =>
    chmodSync(join(root, path), mode);

const layerings: readonly { readonly name: string; readonly changes: readonly Change[] }[] = [
  {
    name: 'files changed, added and taken away',
    changes: [
      all(file('foo', 'foo\n', 0o777), directory('a'), directory('a/b'), directory('a/b/c')),
      all(file('bar', 'bar\n', 0o777), file('foo', 'bar\n', 0o777), remove('a/b')),
    ],
  },
  {
    name: 'a file updated over and over in upper layers',
    changes: Array.from({ length: 20 }, (_, i) => all(file('counter', String(i)), file(`only-${i}`, 'x'))),
  },
  {
    name: 'a directory removed and made anew',
    changes: [all(directory('d'), file('d/old', 'x')), remove('d'), all(directory('d', 0o700), file('d/new', 'y'))],
  },
  {
    name: 'owners changed',
    changes: [all(directory('opt'), file('opt/a', 'a'), chown('opt/a', 1, 1)), all(chown('opt/a', 2, 2), chown('opt', 3, 4))],
  },
  {
    name: 'modes of directories changed',
    changes: [all(directory('d', 0o700), file('d/f', 'x')), chmod('d', 0o777), file('d/g', 'y'), chmod('d', 0o1755)],
  },
  { name: 'files taken away in a child', changes: [all(file('foo', 'x'), file('foobar', 'y')), remove('foobar'), () => undefined] },
  {
    name: 'files moved out of a lower layer',
    changes: [
      all(directory('dir1', 0o700), file('dir1/f1', 'Hello'), directory('dir2'), file('dir2/f2', '...')),
      all(directory('dir3'), file('dir3/f1', 'Hello'), remove('dir1'), link('dir2/f2', 'dir3/f2'), remove('dir2/f2')),
    ],
  },
  {
    name: 'files renamed, also over others',
    changes: [all(file('a', '1'), file('b', '2'), directory('s')), all(rename('a', 'b'), file('t', '3')), rename('t', 's/t')],
  },
];

inPrivateNamespace(import.meta.filename, () => {
  describe('snapshots over overlayfs, mounted as containerd mounts them', () => {
    before(() => process.umask(0o022));

    for (const { name, changes } of layerings) {
      it(`show ${name} as one directory would`, async (t) => {
        await looksLikeOneDirectory(t, changes);
      });
    }

    it('cannot be written to through a view', async (t) => {
      const { add, see } = await start(t);
      await add('c', '', file('f', 'x'));
      await add('d', 'c', file('g', 'x'));
      for (const name of ['c', 'd']) await see(name, (root) => assert.throws(() => file('new', 'x')(root), { code: 'EROFS' }));
    });

    it('have a root directory of mode 0755 that belongs to the owner of the parent’s', async (t) => {
      const { add, within, snapshotter } = await start(t);
      await add('c', '', (root) => {
        assert.equal(statSync(root).mode & 0o7777, 0o755);
        chownSync(root, 12, 34);
      });
      within(await snapshotter.prepare({ key: 'a', parent: 'c', labels: {} }, signal), (root) => {
        const { mode, uid, gid } = statSync(root);
        assert.deepEqual([mode & 0o7777, uid, gid], [0o755, 12, 34]);
      });
    });

    it('stand on a hundred layers', async (t) => {
      const { add, see } = await start(t);
      let parent = '';
      for (let i = 0; i < 100; i++) {
        const overwritten = i === 0 ? directory('only') : all(remove('only'), directory('only'));
        await add(`c${i}`, parent, all(file('last', String(i)), file(`f${i}`, 'x'), overwritten, file(`only/${i}`, 'x')));
        parent = `c${i}`;
      }
      await see(parent, (root) => {
        assert.equal(readFileSync(join(root, 'last'), 'utf8'), '99');
        assert.equal(readdirSync(root).length, 102);
        assert.deepEqual(readdirSync(join(root, 'only')), ['99']);
      });
    });

    it('are gone from disk after Remove and Cleanup, whatever a container wrote', async (t) => {
      const { snapshotter, within } = await start(t);
      const mounts = await snapshotter.prepare({ key: 'a', parent: '', labels: {} }, signal);
      within(mounts, all(directory('locked', 0o000), directory('d'), file('d/f', 'x', 0o000)));
      const source = mounts[0]?.source ?? '';
      await snapshotter.remove('a', signal);
      assert.ok(existsSync(source));
      await snapshotter.cleanup(signal);
      assert.ok(!existsSync(join(source, '..')));
    });
  });
});
