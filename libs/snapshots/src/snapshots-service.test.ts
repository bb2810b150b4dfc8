import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { credentials, Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { Syscalls } from '@soci/linux';
import { collectLogs } from '@soci/log';
import { snapshots } from '@soci/proto';
import { serveGrpc } from '@soci/rpc';
import { LABEL } from './labels.ts';
import type { LazyLayers } from './lazy-layers.ts';
import { SnapshotDirectories } from './snapshot-directories.ts';
import { snapshotsService } from './snapshots-service.ts';
import { Snapshotter } from './snapshotter.ts';
import { SqliteMetadataStore } from './sqlite-metadata-store.ts';

const TARGET = `sha256:${'2'.repeat(64)}`;

/** Never answers until it is cancelled. */
const slowLayers: Pick<LazyLayers, 'prepare' | 'remove' | 'forgotten' | 'cleanup'> = {
  prepare: (_request, signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
  remove: () => Promise.resolve(),
  forgotten: () => undefined,
  cleanup: () => Promise.resolve(),
};

async function serve(t: TestContext): Promise<snapshots.SnapshotsClient> {
  const root = await mkdtemp(join(tmpdir(), 'snapshots-service-'));
  const calls = new Syscalls();
  const store = new SqliteMetadataStore({ path: join(root, 'metadata.db') });
  const { log } = collectLogs();
  const directories = await SnapshotDirectories.open(root);
  const snapshotter = new Snapshotter({ store, directories, calls, log, lazy: slowLayers as LazyLayers });
  const address = `unix://${join(root, 'socket')}`;
  const server = await serveGrpc({ address, services: [snapshotsService(snapshotter)], log, graceMs: 500 });
  const client = new snapshots.SnapshotsClient(address, credentials.createInsecure());
  t.after(async () => {
    client.close();
    await server.stop();
    store[Symbol.dispose]();
    await calls[Symbol.asyncDispose]();
    await rm(root, { recursive: true });
  });
  return client;
}

type Callback<T> = (error: ServiceError | null, value: T) => void;

function call<T>(start: (callback: Callback<T>) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => (error === null ? resolve(value) : reject(error)));
  });
}

function prepare(
  client: snapshots.SnapshotsClient,
  key: string,
  parent = '',
  labels: Record<string, string> = {},
): Promise<snapshots.PrepareSnapshotResponse> {
  return call((done) => client.prepare({ snapshotter: '', key, parent, labels }, done));
}

async function list(client: snapshots.SnapshotsClient, filters: string[]): Promise<{ infos: snapshots.Info[]; messages: number }> {
  const infos: snapshots.Info[] = [];
  let messages = 0;
  for await (const message of client.list({ snapshotter: '', filters }) as AsyncIterable<snapshots.ListSnapshotsResponse>) {
    infos.push(...message.info);
    messages++;
  }
  return { infos, messages };
}

describe('snapshotsService', () => {
  it('speaks containerd’s API over a socket', async (t) => {
    const client = await serve(t);
    const { mounts } = await prepare(client, 'a', '', { x: '1', empty: '' });
    assert.deepEqual(mounts[0]?.options, ['rw', 'rbind']);
    assert.deepEqual((await call<snapshots.MountsResponse>((done) => client.mounts({ snapshotter: '', key: 'a' }, done))).mounts, mounts);
    await call((done) => client.commit({ snapshotter: '', key: 'a', name: 'c', labels: { y: '2' }, parent: '' }, done));
    const before = BigInt(Date.now()) / 1000n;
    const { info } = await call<snapshots.StatSnapshotResponse>((done) => client.stat({ snapshotter: '', key: 'c' }, done));
    assert.equal(info?.kind, snapshots.Kind.COMMITTED);
    assert.deepEqual(info.labels, { y: '2' });
    assert.deepEqual(info.createdAt, info.updatedAt);
    assert.ok(before - (info.createdAt?.seconds ?? 0n) <= 5n);
    const updated = await call<snapshots.UpdateSnapshotResponse>((done) =>
      client.update({ snapshotter: '', info: { ...info, labels: { z: '3' } }, updateMask: ['labels.y', 'labels.z'] }, done),
    );
    assert.deepEqual(updated.info?.labels, { z: '3' });
    const usage = await call<snapshots.UsageResponse>((done) => client.usage({ snapshotter: '', key: 'c' }, done));
    assert.equal(usage.inodes, 1n);
    await call((done) => client.view({ snapshotter: '', key: 'v', parent: 'c', labels: {} }, done));
    await assert.rejects(
      call((done) => client.remove({ snapshotter: '', key: 'c' }, done)),
      { code: status.FAILED_PRECONDITION },
    );
    await call((done) => client.remove({ snapshotter: '', key: 'v' }, done));
    await call((done) => client.remove({ snapshotter: '', key: 'c' }, done));
    await call((done) => client.cleanup({ snapshotter: '' }, done));
    assert.deepEqual(await list(client, []), { infos: [], messages: 0 });
  });

  it('answers with the statuses containerd acts on', async (t) => {
    const client = await serve(t);
    await prepare(client, 'a');
    await assert.rejects(prepare(client, 'a'), { code: status.ALREADY_EXISTS });
    await assert.rejects(prepare(client, 'b', 'none'), { code: status.NOT_FOUND });
    await assert.rejects(prepare(client, 'b', 'a'), { code: status.INVALID_ARGUMENT });
    await assert.rejects(list(client, ['name=']), { code: status.INVALID_ARGUMENT });
    await assert.rejects(
      call((done) => client.update({ snapshotter: '', info: undefined, updateMask: undefined }, done)),
      { code: status.INVALID_ARGUMENT },
    );
    await assert.rejects(
      call((done) => client.stat({ snapshotter: '', key: 'constructor' }, done)),
      { code: status.NOT_FOUND },
    );
  });

  it('lists in messages of a hundred, filtered', async (t) => {
    const client = await serve(t);
    await Promise.all(Array.from({ length: 130 }, (_, i) => prepare(client, `k${String(i).padStart(3, '0')}`, '', { odd: String(i % 2) })));
    const all = await list(client, []);
    assert.deepEqual([all.infos.length, all.messages], [130, 2]);
    assert.equal(all.infos[7]?.name, 'k007');
    const some = await list(client, ['labels.odd==1,name~=/^k00/', 'name==k100']);
    assert.deepEqual(
      some.infos.map(({ name }) => name),
      ['k001', 'k003', 'k005', 'k007', 'k009', 'k100'],
    );
  });

  it('ends a lazy Prepare when the caller goes, and serves others meanwhile', async (t) => {
    const client = await serve(t);
    const metadata = new Metadata();
    metadata.set('containerd-namespace', 'k8s.io');
    const labels = { [LABEL.target]: TARGET };
    const slow = Promise.withResolvers<unknown>();
    const started = client.prepare({ snapshotter: '', key: 'slow', parent: '', labels }, metadata, (error) => slow.resolve(error?.code));
    await Promise.all(Array.from({ length: 32 }, (_, i) => prepare(client, `other-${i}`)));
    started.cancel();
    assert.equal(await slow.promise, status.CANCELLED);
    while ((await list(client, ['name==slow'])).infos.length > 0) await new Promise((resolve) => setImmediate(resolve));
    assert.equal((await list(client, [])).infos.length, 32);
  });
});
