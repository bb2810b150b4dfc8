import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it, type TestContext } from 'node:test';
import type { SnapshotErrorCode } from './errors.ts';
import { LABEL, toLabels } from './labels.ts';
import type { NewSnapshot } from './metadata-store.ts';
import { NO_USAGE } from './snapshot.ts';
import { SqliteMetadataStore } from './sqlite-metadata-store.ts';

const nowhere = (): void => undefined;

async function databasePath(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'metadata-'));
  t.after(() => rm(directory, { recursive: true }));
  return join(directory, 'metadata.db');
}

async function openStore(t: TestContext, now?: () => bigint): Promise<SqliteMetadataStore> {
  const path = await databasePath(t);
  const store = new SqliteMetadataStore(now === undefined ? { path } : { path, now });
  t.after(() => store[Symbol.dispose]());
  return store;
}

function active(key: string, parent = '', labels: Record<string, string> = {}): NewSnapshot {
  return { key, kind: 'active', parent, labels };
}

function addCommitted(store: SqliteMetadataStore, name: string, parent = ''): void {
  store.create(active(`${name}-active`, parent), nowhere);
  store.commit({ key: `${name}-active`, name, labels: {}, usage: NO_USAGE, parent: '' });
}

function throwsCode(work: () => unknown, code: SnapshotErrorCode): void {
  assert.throws(work, { code });
}

describe('SqliteMetadataStore', () => {
  it('keeps what it was told over a restart, to the nanosecond', async (t) => {
    const path = await databasePath(t);
    const times = [1_764_036_000_123_456_789n, 1_764_036_001_000_000_001n, 1_764_036_002_000_000_003n];
    {
      using store = new SqliteMetadataStore({ path, now: () => times.shift() ?? 0n });
      store.create(active('a', '', { x: '1' }), nowhere);
      store.commit({ key: 'a', name: 'b', labels: { y: '2', 'with "quotes"': 'é' }, usage: { sizeBytes: 5e9, inodes: 7 }, parent: '' });
    }
    using store = new SqliteMetadataStore({ path });
    assert.equal(store.get('a'), undefined);
    assert.deepEqual(store.get('b'), {
      id: 1,
      name: 'b',
      parent: '',
      kind: 'committed',
      labels: toLabels(Object.entries({ y: '2', 'with "quotes"': 'é' })),
      createdNs: 1_764_036_001_000_000_001n,
      updatedNs: 1_764_036_001_000_000_001n,
      usage: { sizeBytes: 5e9, inodes: 7 },
    });
  });

  it('makes its file readable to its owner alone', async (t) => {
    const path = await databasePath(t);
    await writeFile(path, '', { mode: 0o644 });
    using store = new SqliteMetadataStore({ path });
    addCommitted(store, 'a');
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.equal((await stat(`${path}-wal`)).mode & 0o777, 0o600);
  });

  it('refuses a second process, a file of another program and one of a later version', async (t) => {
    const path = await databasePath(t);
    {
      using store = new SqliteMetadataStore({ path });
      assert.ok(store);
      throwsCode(() => new SqliteMetadataStore({ path }), 'STORE_BUSY');
    }
    await writeFile(path, 'x'.repeat(4096));
    throwsCode(() => new SqliteMetadataStore({ path }), 'STORE_FOREIGN');
  });

  it('never gives an id twice, also after a removal and a reservation', async (t) => {
    const store = await openStore(t);
    assert.equal(store.create(active('a'), nowhere).id, 1);
    assert.equal(store.create(active('b'), nowhere).id, 2);
    store.remove('b');
    assert.equal(store.create(active('b'), nowhere).id, 3);
    store.reserveIds(10);
    store.reserveIds(5);
    assert.equal(store.create(active('c'), nowhere).id, 11);
    assert.deepEqual([...store.ids()].sort(), [1, 11, 3]);
  });

  it('undoes a record whose directory could not be placed', async (t) => {
    const store = await openStore(t);
    assert.throws(
      () =>
        store.create(active('a'), () => {
          throw new Error('no space');
        }),
      /no space/,
    );
    assert.equal(store.get('a'), undefined);
    assert.deepEqual(store.list(), []);
  });

  it('wants a committed parent and a free key', async (t) => {
    const store = await openStore(t);
    addCommitted(store, 'base');
    store.create(active('a', 'base'), nowhere);
    throwsCode(() => store.create(active('b', 'none'), nowhere), 'NOT_FOUND');
    throwsCode(() => store.create(active('b', 'a'), nowhere), 'INVALID_ARGUMENT');
    throwsCode(() => store.create(active('a'), nowhere), 'ALREADY_EXISTS');
    throwsCode(() => store.create({ ...active('base'), kind: 'view' }, nowhere), 'ALREADY_EXISTS');
    throwsCode(() => store.create(active(''), nowhere), 'INVALID_ARGUMENT');
    throwsCode(() => store.create(active('x'.repeat(4097)), nowhere), 'INVALID_ARGUMENT');
  });

  it('commits active snapshots alone, under a free name, replacing their labels', async (t) => {
    const store = await openStore(t);
    addCommitted(store, 'base');
    store.create({ ...active('view'), kind: 'view' }, nowhere);
    const { id } = store.create(active('a', 'base', { gone: '1' }), nowhere);
    const commit = (key: string, name: string): unknown => store.commit({ key, name, labels: { kept: '1' }, usage: NO_USAGE, parent: '' });
    throwsCode(() => commit('none', 'x'), 'NOT_FOUND');
    throwsCode(() => commit('view', 'x'), 'FAILED_PRECONDITION');
    throwsCode(() => commit('base', 'x'), 'FAILED_PRECONDITION');
    throwsCode(() => commit('a', 'base'), 'ALREADY_EXISTS');
    commit('a', 'b');
    const record = store.get('b');
    assert.deepEqual({ ...record?.labels }, { kept: '1' });
    assert.equal(record?.id, id);
    assert.equal(record.parent, 'base');
    assert.deepEqual(
      store.ancestors(id).map(({ name }) => name),
      ['base'],
    );
  });

  it('gives a parent at commit to a snapshot that has none, and never another', async (t) => {
    const store = await openStore(t);
    addCommitted(store, 'base');
    addCommitted(store, 'other');
    store.create(active('free'), nowhere);
    store.create(active('bound', 'base'), nowhere);
    const commit = (key: string, parent: string): unknown => store.commit({ key, name: `${key}-c`, labels: {}, usage: NO_USAGE, parent });
    throwsCode(() => commit('bound', 'other'), 'INVALID_ARGUMENT');
    throwsCode(() => commit('free', 'none'), 'NOT_FOUND');
    throwsCode(() => commit('free', 'bound'), 'FAILED_PRECONDITION');
    commit('free', 'base');
    commit('bound', 'base');
    throwsCode(() => store.remove('base'), 'FAILED_PRECONDITION');
  });

  it('keeps a parent for as long as something stands on it', async (t) => {
    const store = await openStore(t);
    addCommitted(store, 'base');
    store.create(active('a', 'base'), nowhere);
    throwsCode(() => store.remove('base'), 'FAILED_PRECONDITION');
    store.remove('a');
    store.remove('base');
    throwsCode(() => store.remove('base'), 'NOT_FOUND');
  });

  it('lists ancestors nearest first, and everything in the byte order of names', async (t) => {
    const store = await openStore(t);
    for (const [name, parent] of [
      ['z', ''],
      ['é', 'z'],
      ['A', 'é'],
      ['a', 'A'],
    ] as const) {
      addCommitted(store, name, parent);
    }
    assert.deepEqual(
      store.list().map(({ name }) => name),
      ['A', 'a', 'z', 'é'],
    );
    assert.deepEqual(
      store.ancestors(store.get('a')?.id ?? 0).map(({ name }) => name),
      ['A', 'é', 'z'],
    );
  });

  it('tells whether a snapshot of an image is left, however many there are', async (t) => {
    const store = await openStore(t);
    for (const key of ['a', 'b']) store.create(active(key, '', { [LABEL.imageRef]: 'r.example/a:1' }), nowhere);
    store.create(active('c', '', { other: 'r.example/c:1' }), nowhere);
    assert.deepEqual([store.hasImage('r.example/a:1'), store.hasImage('r.example/c:1')], [true, false]);
    store.remove('a');
    assert.ok(store.hasImage('r.example/a:1'));
    store.remove('b');
    assert.ok(!store.hasImage('r.example/a:1'));
  });

  it('drops labels without a value and refuses those that are too long or too many', async (t) => {
    const store = await openStore(t);
    assert.deepEqual({ ...store.create(active('a', '', { kept: '1', empty: '' }), nowhere).labels }, { kept: '1' });
    assert.deepEqual({ ...store.updateLabels('a', (before) => ({ ...before, kept: '', added: '2' })).labels }, { added: '2' });
    assert.deepEqual({ ...store.get('a')?.labels }, { added: '2' });
    throwsCode(() => store.create(active('b', '', { x: 'x'.repeat(4096) }), nowhere), 'INVALID_ARGUMENT');
    const many = Object.fromEntries(Array.from({ length: 513 }, (_, i) => [`k${i}`, 'v']));
    throwsCode(() => store.create(active('b', '', many), nowhere), 'INVALID_ARGUMENT');
    throwsCode(() => store.updateLabels('none', (before) => before), 'NOT_FOUND');
  });

  it('tells a full disk apart, and works again afterwards', async (t) => {
    const store = await openStore(t);
    const exec = t.mock.method(DatabaseSync.prototype, 'exec', function (this: DatabaseSync, sql: string): void {
      if (sql === 'COMMIT') throw Object.assign(new Error('database or disk is full'), { code: 'ERR_SQLITE_ERROR', errcode: 13 });
      this.prepare(sql).run();
    });
    throwsCode(() => store.create(active('a'), nowhere), 'RESOURCE_EXHAUSTED');
    exec.mock.restore();
    assert.equal(store.get('a'), undefined);
    assert.equal(store.create(active('a'), nowhere).name, 'a');
  });

  it('dates creation and update apart', async (t) => {
    let time = 0n;
    const store = await openStore(t, () => ++time);
    store.create(active('a'), nowhere);
    const { createdNs, updatedNs } = store.updateLabels('a', () => ({ x: '1' }));
    assert.deepEqual([createdNs, updatedNs], [1n, 2n]);
  });
});
