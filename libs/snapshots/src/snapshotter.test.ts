import assert from 'node:assert/strict';
import { lstat, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Syscalls } from '@soci/linux';
import { collectLogs, type LogCollector } from '@soci/log';
import type { FileSystemCalls } from './file-system-calls.ts';
import { LABEL } from './labels.ts';
import type { LazyLayers, LazyOutcome, LazyRequest } from './lazy-layers.ts';
import type { SnapshotRecord } from './snapshot.ts';
import { SnapshotDirectories } from './snapshot-directories.ts';
import { Snapshotter } from './snapshotter.ts';
import { SqliteMetadataStore } from './sqlite-metadata-store.ts';

const signal = new AbortController().signal;
const CHAIN_ID = `sha256:${'1'.repeat(64)}`;
const LAYER_LABELS = { [LABEL.target]: CHAIN_ID, [LABEL.imageRef]: 'registry.example.com/app:1', [LABEL.layerDigest]: 'sha256:aa' };

/** Serves or declines as the test says, and keeps account of what is mounted. */
class ScriptedLayers implements LazyLayers {
  readonly requests: LazyRequest[] = [];
  readonly mounted = new Set<number>();
  readonly broken = new Set<number>();
  readonly forgottenNames: string[] = [];
  answer: (request: LazyRequest, signal: AbortSignal) => Promise<LazyOutcome> = () => Promise.resolve({ kind: 'lazy' });

  async prepare(request: LazyRequest, aborted: AbortSignal): Promise<LazyOutcome> {
    this.requests.push(request);
    const outcome = await this.answer(request, aborted);
    if (outcome.kind === 'lazy') this.mounted.add(request.snapshotId);
    return outcome;
  }

  remove(snapshotId: number): Promise<void> {
    this.mounted.delete(snapshotId);
    return Promise.resolve();
  }

  forgotten({ name }: SnapshotRecord): void {
    this.forgottenNames.push(name);
  }

  restore(): Promise<void> {
    return Promise.resolve();
  }

  cleanup(): Promise<void> {
    return Promise.resolve();
  }

  ensureMounted({ record }: { readonly record: { readonly id: number } }): Promise<void> {
    return this.broken.has(record.id) ? Promise.reject(new Error('registry is down')) : Promise.resolve();
  }
}

interface Fixture {
  readonly snapshotter: Snapshotter;
  readonly lazy: ScriptedLayers;
  readonly store: SqliteMetadataStore;
  readonly logs: LogCollector;
  /** `<root>/snapshots`. */
  readonly path: string;
}

async function start(
  t: TestContext,
  { calls: given, hasLazy = true }: { calls?: Partial<FileSystemCalls>; hasLazy?: boolean } = {},
): Promise<Fixture> {
  const root = await mkdtemp(join(tmpdir(), 'snapshotter-'));
  const syscalls = new Syscalls();
  const store = new SqliteMetadataStore({ path: join(root, 'metadata.db') });
  t.after(async () => {
    store[Symbol.dispose]();
    await syscalls[Symbol.asyncDispose]();
    await rm(root, { recursive: true });
  });
  const directories = await SnapshotDirectories.open(root);
  const lazy = new ScriptedLayers();
  const logs = collectLogs('info');
  const calls: FileSystemCalls = {
    stat: (path, options) => (given?.stat ?? syscalls.stat.bind(syscalls))(path, options),
    diskUsage: (path, options) => (given?.diskUsage ?? syscalls.diskUsage.bind(syscalls))(path, options),
    removeTree: (path, options) => (given?.removeTree ?? syscalls.removeTree.bind(syscalls))(path, options),
    mountsNaming: (path, options) => (given?.mountsNaming ?? syscalls.mountsNaming.bind(syscalls))(path, options),
  };
  const snapshotter = new Snapshotter({ store, directories, calls, log: logs.log, lazy: hasLazy ? lazy : undefined });
  return { snapshotter, lazy, store, logs, path: directories.path };
}

function request(
  key: string,
  parent = '',
  labels: Record<string, string> = {},
): { key: string; parent: string; labels: Record<string, string> } {
  return { key, parent, labels };
}

async function addCommitted({ snapshotter }: Fixture, name: string, parent = ''): Promise<void> {
  await snapshotter.prepare(request(`${name}-active`, parent), signal);
  await snapshotter.commit(`${name}-active`, name, { labels: {} }, signal);
}

describe('Snapshotter: ordinary snapshots', () => {
  it('makes directories with the modes of containerd’s overlayfs, whatever the umask', async (t) => {
    const umask = process.umask(0o077);
    t.after(() => process.umask(umask));
    const { snapshotter, path } = await start(t);
    await snapshotter.prepare(request('a'), signal);
    await snapshotter.view(request('v'), signal);
    const mode = async (name: string): Promise<string> => ((await stat(join(path, name))).mode & 0o7777).toString(8);
    assert.deepEqual(await Promise.all(['', '1', '1/fs', '1/work', '2/fs'].map(mode)), ['700', '700', '755', '711', '755']);
    assert.deepEqual(await readdir(join(path, '2')), ['fs']);
  });

  it('gives the mounts of the Go snapshotter, options in its order', async (t) => {
    const fixture = await start(t);
    const { snapshotter, path } = fixture;
    const bind = (source: string, access: string): unknown => [{ type: 'bind', source: join(path, source), options: [access, 'rbind'] }];
    assert.deepEqual(await snapshotter.prepare(request('a'), signal), bind('1/fs', 'rw'));
    assert.deepEqual(await snapshotter.view(request('v'), signal), bind('2/fs', 'ro'));
    await addCommitted(fixture, 'one');
    await addCommitted(fixture, 'two', 'one');
    assert.deepEqual(await snapshotter.view(request('v1', 'one'), signal), bind('3/fs', 'ro'));
    const lower = `lowerdir=${path}/4/fs:${path}/3/fs`;
    assert.deepEqual(await snapshotter.view(request('v2', 'two'), signal), [{ type: 'overlay', source: 'overlay', options: [lower] }]);
    const active = [{ type: 'overlay', source: 'overlay', options: [`workdir=${path}/7/work`, `upperdir=${path}/7/fs`, lower] }];
    assert.deepEqual(await snapshotter.prepare(request('a2', 'two'), signal), active);
    assert.deepEqual(await snapshotter.mounts('a2', signal), active);
    await assert.rejects(snapshotter.mounts('two', signal), { code: 'FAILED_PRECONDITION' });
    await assert.rejects(snapshotter.mounts('none', signal), { code: 'NOT_FOUND' });
  });

  it('gives the upper directory to the owner of the parent', {
    skip: process.getuid?.() === 0 ? false : 'needs root to give files away',
  }, async (t) => {
    const fixture = await start(t, { calls: { stat: () => Promise.resolve({ uid: 123, gid: 456 } as never) } });
    await addCommitted(fixture, 'base');
    await fixture.snapshotter.prepare(request('a', 'base'), signal);
    const { uid, gid } = await stat(join(fixture.path, '2/fs'));
    assert.deepEqual([uid, gid], [123, 456]);
  });

  it('leaves nothing behind when a snapshot cannot be made', async (t) => {
    const fixture = await start(t);
    await fixture.snapshotter.prepare(request('a'), signal);
    await assert.rejects(fixture.snapshotter.prepare(request('a'), signal), { code: 'ALREADY_EXISTS' });
    await assert.rejects(fixture.snapshotter.view(request('b', 'none'), signal), { code: 'NOT_FOUND' });
    await assert.rejects(fixture.snapshotter.prepare(request('b', 'a'), signal), { code: 'INVALID_ARGUMENT' });
    await assert.rejects(fixture.snapshotter.prepare(request('b', '', { big: 'x'.repeat(5000) }), signal), { code: 'INVALID_ARGUMENT' });
    assert.deepEqual(await readdir(fixture.path), ['1']);
  });

  it('refuses to make a snapshot whose ids would have to be mapped, rather than make a wrong one', async (t) => {
    const { snapshotter, path } = await start(t);
    const labels = { [LABEL.uidMapping]: '0:1000:65536', [LABEL.gidMapping]: '0:1000:65536' };
    await assert.rejects(snapshotter.prepare(request('a', '', labels), signal), { code: 'UNIMPLEMENTED' });
    assert.deepEqual(await readdir(path), []);
  });

  it('measures active snapshots when asked and committed ones at commit', async (t) => {
    const fixture = await start(t);
    const { snapshotter, path } = fixture;
    await snapshotter.prepare(request('a'), signal);
    const empty = await snapshotter.usage('a', signal);
    assert.equal(empty.inodes, 1);
    await writeFile(join(path, '1/fs/file'), Buffer.alloc(100_000, 'x'));
    const full = await snapshotter.usage('a', signal);
    assert.equal(full.inodes, 2);
    assert.ok(full.sizeBytes >= empty.sizeBytes + 100_000);
    await snapshotter.commit('a', 'c', { labels: {} }, signal);
    assert.deepEqual(await snapshotter.usage('c', signal), full);
    await snapshotter.view(request('v', 'c'), signal);
    assert.deepEqual(await snapshotter.usage('v', signal), { sizeBytes: 0, inodes: 0 });
  });

  it('removes what a removed snapshot left at the next cleanup, and nothing that is being made', async (t) => {
    const release = Promise.withResolvers<undefined>();
    const entered = Promise.withResolvers<undefined>();
    let blocks = false;
    const syscalls = new Syscalls();
    t.after(() => syscalls[Symbol.asyncDispose]());
    const fixture = await start(t, {
      calls: {
        stat: async (path) => {
          if (blocks) {
            entered.resolve(undefined);
            await release.promise;
          }
          return syscalls.stat(path);
        },
      },
    });
    const { snapshotter, path } = fixture;
    await addCommitted(fixture, 'base');
    await snapshotter.prepare(request('gone', 'base'), signal);
    await snapshotter.remove('gone', signal);
    await mkdir(join(path, 'new-leftover/fs'), { recursive: true });
    await mkdir(join(path, '1_2/fs'), { recursive: true });
    assert.ok(await lstat(join(path, '2')));
    blocks = true;
    const making = snapshotter.prepare(request('making', 'base'), signal);
    await entered.promise;
    await snapshotter.cleanup(signal);
    release.resolve(undefined);
    await making;
    assert.deepEqual((await readdir(path)).sort(), ['1', '3']);
  });

  it('goes on with cleanup where one directory cannot be removed, and says so', async (t) => {
    const fixture = await start(t, { calls: { removeTree: () => Promise.reject(new Error('device busy')) } });
    await fixture.snapshotter.prepare(request('a'), signal);
    await fixture.snapshotter.remove('a', signal);
    await fixture.snapshotter.cleanup(signal);
    assert.match(fixture.logs.lines.join('\n'), /failed to remove directory/);
  });

  it('carries out calls about one key in turn', async (t) => {
    const fixture = await start(t);
    const { snapshotter } = fixture;
    const results = await Promise.allSettled([
      snapshotter.prepare(request('a'), signal),
      snapshotter.prepare(request('a'), signal),
      snapshotter.commit('a', 'c', { labels: {} }, signal),
      snapshotter.remove('a', signal),
    ]);
    assert.deepEqual(
      results.map((result) => (result.status === 'fulfilled' ? 'done' : (result.reason as { code: string }).code)),
      ['done', 'ALREADY_EXISTS', 'done', 'NOT_FOUND'],
    );
    assert.equal(snapshotter.stat('c').kind, 'committed');
  });

  it('makes hundreds of snapshots at once', async (t) => {
    const fixture = await start(t);
    await addCommitted(fixture, 'base');
    await Promise.all(Array.from({ length: 200 }, (_, i) => fixture.snapshotter.prepare(request(`k${i}`, 'base'), signal)));
    assert.equal(fixture.snapshotter.list(['kind==active']).length, 200);
    assert.equal((await readdir(fixture.path)).length, 201);
  });
});

describe('Snapshotter: layers of images', () => {
  it('commits a layer that is served lazily under its chain id, and answers that it exists', async (t) => {
    const { snapshotter, lazy, logs, store } = await start(t);
    lazy.answer = () => Promise.resolve({ kind: 'lazy', labels: { 'containerd.io/snapshot/remote/extra': '1' } });
    await assert.rejects(snapshotter.prepare(request('k8s.io/7/extract-1 x', '', LAYER_LABELS), signal), { code: 'ALREADY_EXISTS' });
    const record = store.get(CHAIN_ID);
    assert.equal(record?.kind, 'committed');
    assert.deepEqual(
      { ...record.labels },
      {
        ...LAYER_LABELS,
        'containerd.io/snapshot/remote': 'remote snapshot',
        'containerd.io/snapshot/remote/has.soci.index.digest': 'true',
        'containerd.io/snapshot/remote/namespace': 'k8s.io',
        'containerd.io/snapshot/remote/extra': '1',
      },
    );
    assert.deepEqual(record.usage, { sizeBytes: 0, inodes: 0 });
    assert.equal(store.get('k8s.io/7/extract-1 x'), undefined);
    assert.match(logs.lines.join('\n'), /"remote-snapshot-prepared":"true"/);
    assert.deepEqual(
      snapshotter.list([`labels."containerd.io/snapshot.ref"==${CHAIN_ID},parent==""`]).map(({ name }) => name),
      [CHAIN_ID],
    );
  });

  it('leaves a layer that is declined to the runtime, and says why', async (t) => {
    const { snapshotter, lazy, logs, path, store } = await start(t);
    lazy.answer = () => Promise.resolve({ kind: 'declined', cause: 'no-index', reason: 'no referrers', level: 'warn' });
    const mounts = await snapshotter.prepare(request('k8s.io/7/x', '', LAYER_LABELS), signal);
    assert.deepEqual(mounts, [{ type: 'bind', source: join(path, '1/fs'), options: ['rw', 'rbind'] }]);
    assert.equal(store.get('k8s.io/7/x')?.kind, 'active');
    const [line = ''] = logs.lines;
    assert.match(line, /"level":"warning".*"remote-snapshot-prepared":"false","defer-snapshot-runtime":"true","reason":"no referrers"/);
    assert.match(line, /no valid SOCI index found; deferring to container runtime/);
  });

  it('takes the namespace from the key, or from the header', async (t) => {
    const { snapshotter, lazy } = await start(t);
    lazy.answer = () => Promise.resolve({ kind: 'declined', cause: 'failed', reason: 'x', level: 'info' });
    await snapshotter.prepare({ ...request('ns-a/1/x', '', LAYER_LABELS), namespace: 'other' }, signal);
    await snapshotter.prepare({ ...request('plain', '', LAYER_LABELS), namespace: 'ns-b' }, signal);
    await snapshotter.prepare(request('none', '', LAYER_LABELS), signal);
    assert.deepEqual(
      lazy.requests.map(({ namespace }) => namespace),
      ['ns-a', 'ns-b'],
    );
  });

  it('says which snapshots are gone, also of a call that failed', async (t) => {
    const { snapshotter, lazy } = await start(t);
    await snapshotter.prepare({ key: 'a', parent: '', labels: {} }, signal);
    await snapshotter.remove('a', signal);
    lazy.answer = () => Promise.reject(new Error('broken'));
    await assert.rejects(snapshotter.prepare({ key: 'k8s.io/1/b', parent: '', labels: LAYER_LABELS }, signal), /broken/);
    assert.deepEqual(lazy.forgottenNames, ['a', 'k8s.io/1/b']);
    await assert.rejects(snapshotter.remove('none', signal), { code: 'NOT_FOUND' });
  });

  it('lets other calls through while a layer is being prepared', async (t) => {
    const fixture = await start(t);
    const gate = Promise.withResolvers<undefined>();
    fixture.lazy.answer = async () => {
      await gate.promise;
      return { kind: 'lazy' };
    };
    const preparing = fixture.snapshotter.prepare(request('ns/1/x', '', LAYER_LABELS), signal);
    await addCommitted(fixture, 'base');
    await fixture.snapshotter.view(request('v', 'base'), signal);
    await fixture.snapshotter.cleanup(signal);
    assert.equal(fixture.snapshotter.stat('ns/1/x').kind, 'active');
    gate.resolve(undefined);
    await assert.rejects(preparing, { code: 'ALREADY_EXISTS' });
  });

  it('undoes everything when the call is cancelled', async (t) => {
    const { snapshotter, lazy, path } = await start(t);
    const controller = new AbortController();
    lazy.answer = (_request, aborted) =>
      new Promise((_, reject) => aborted.addEventListener('abort', () => reject(aborted.reason as Error)));
    const preparing = snapshotter.prepare(request('ns/1/x', '', LAYER_LABELS), controller.signal);
    while (lazy.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
    controller.abort(new Error('caller left'));
    await assert.rejects(preparing, /caller left/);
    assert.deepEqual(snapshotter.list([]), []);
    assert.deepEqual(await readdir(path), []);
  });

  it('has one snapshot where two pulls prepare the same layer at once', async (t) => {
    const { snapshotter, lazy, path } = await start(t);
    const bothAsked = Promise.withResolvers<undefined>();
    lazy.answer = async () => {
      if (lazy.requests.length === 2) bothAsked.resolve(undefined);
      await bothAsked.promise;
      return { kind: 'lazy' };
    };
    const both = await Promise.allSettled([
      snapshotter.prepare(request('ns-a/1/x', '', LAYER_LABELS), signal),
      snapshotter.prepare(request('ns-b/1/x', '', LAYER_LABELS), signal),
    ]);
    assert.deepEqual(
      both.map((result) => result.status === 'rejected' && (result.reason as { code: string }).code),
      ['ALREADY_EXISTS', 'ALREADY_EXISTS'],
    );
    assert.equal(snapshotter.list([]).length, 1);
    assert.equal((await readdir(path)).length, 1);
    assert.equal(lazy.mounted.size, 1);
    await assert.rejects(snapshotter.prepare(request('ns-c/1/x', '', LAYER_LABELS), signal), { code: 'ALREADY_EXISTS' });
    assert.equal(lazy.requests.length, 2);
  });

  it('does not hand out a layer that stands on another parent', async (t) => {
    const fixture = await start(t);
    await assert.rejects(fixture.snapshotter.prepare(request('ns/1/x', '', LAYER_LABELS), signal), { code: 'ALREADY_EXISTS' });
    await addCommitted(fixture, 'ns/2/base');
    const mounts = await fixture.snapshotter.prepare(request('ns/3/x', 'ns/2/base', LAYER_LABELS), signal);
    assert.equal(mounts.length, 1);
  });

  it('gives no mounts over a layer that cannot be mounted, and removes it all the same', async (t) => {
    const { snapshotter, lazy, store, path } = await start(t);
    await assert.rejects(snapshotter.prepare(request('ns/1/x', '', LAYER_LABELS), signal), { code: 'ALREADY_EXISTS' });
    await snapshotter.prepare(request('ns/2/c', CHAIN_ID), signal);
    lazy.broken.add(store.get(CHAIN_ID)?.id ?? 0);
    await assert.rejects(snapshotter.mounts('ns/2/c', signal), { code: 'UNAVAILABLE', message: 'layer "1" unavailable' });
    await assert.rejects(snapshotter.prepare(request('ns/3/c', CHAIN_ID), signal), { code: 'UNAVAILABLE' });
    assert.equal(snapshotter.list([]).length, 2);
    lazy.broken.clear();
    await snapshotter.mounts('ns/2/c', signal);
    lazy.broken.add(1);
    await snapshotter.remove('ns/2/c', signal);
    await snapshotter.remove(CHAIN_ID, signal);
    await snapshotter.cleanup(signal);
    assert.deepEqual([...lazy.mounted], []);
    assert.deepEqual(await readdir(path), []);
  });

  it('says unavailable where layers that were lazy cannot be served any more', async (t) => {
    const { snapshotter, store, path } = await start(t, { hasLazy: false });
    store.create({ key: 'x', kind: 'active', parent: '', labels: {} }, () => undefined);
    store.commit({ key: 'x', name: 'lazy', labels: { [LABEL.remote]: 'remote snapshot' }, usage: { sizeBytes: 0, inodes: 0 }, parent: '' });
    await mkdir(join(path, '1/fs'), { recursive: true });
    await assert.rejects(snapshotter.prepare(request('c', 'lazy'), signal), { code: 'UNAVAILABLE' });
    assert.deepEqual(await readdir(path), ['1']);
  });
});
