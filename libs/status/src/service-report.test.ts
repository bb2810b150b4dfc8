import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { collectLogs, createLogger } from '@soci/log';
import {
  openStatus,
  RecentTroubles,
  serveAdmin,
  SnapshotterWatch,
  StatusError,
  type ServeAdminOptions,
  type SnapshotterState,
  type StatusReport,
} from './index.ts';

const signal = new AbortController().signal;
const FACTS = { name: 'soci-snapshotter-grpc', version: '1.2.3', revision: 'abc', root: '/var/lib/soci', configPath: '/etc/soci.toml' };

async function ask(
  t: TestContext,
  options: Omit<ServeAdminOptions, 'address' | 'log'>,
): Promise<{ address: string; report: StatusReport }> {
  const folder = await mkdtemp(join(tmpdir(), 'soci-report-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const address = join(folder, 'admin.sock');
  const server = await serveAdmin({ address, log: collectLogs().log, ...options });
  t.after(() => server?.stop());
  using client = openStatus(address);
  return { address, report: await client.status(signal) };
}

describe('the status of a service', () => {
  it('tells what runs and how it is doing', async (t) => {
    const state: SnapshotterState = {
      mode: { mode: 'erofs', reason: 'EROFS over FUSE', continuity: 'journal' },
      restore: {
        phase: 'finished',
        total: 9,
        restored: 8,
        notRestored: [{ key: 'k', layerDigest: 'sha256:1', reason: 'names\nare gone' }],
      },
      layers: { used: 8, served: 5, complete: 3, slots: 12 },
      readsWaiting: 2,
      readsFailed: { timeout: 3, disk: 0 },
      restarts: { count: 4, lastEnd: 'SIGKILL', requestsResumed: 7 },
    };
    const snapshotter = new SnapshotterWatch();
    snapshotter.opened({ state: () => state, probe: () => Promise.resolve() });
    snapshotter.serving('/run/soci.sock');
    snapshotter.metricsServed('127.0.0.1:9100');
    const troubles = new RecentTroubles({ nowMs: () => 5 });
    troubles.note('{"level":"error","time":"x","host":"r.example.com","error":"refused","msg":"span rejected"}\n');
    const { address, report } = await ask(t, {
      sources: [
        { name: 'cri', off: '[cri_keychain] enable_keychain is false' },
        { source: { name: 'kubernetes-secrets', resolve: () => Promise.reject(new Error('not asked')) } },
        { source: { name: 'credential-plugins', resolve: () => Promise.reject(new Error('not asked')) } },
      ],
      facts: {
        ...FACTS,
        snapshotter,
        troubles,
        sourceState: (name) =>
          name === 'kubernetes-secrets' ? { state: 'not-ready', reason: 'the first list is not complete' } : undefined,
      },
    });
    const { restore, ...rest } = state;
    const { uptimeMs, pid, runtime, kernel, ...told } = report;
    assert.ok(uptimeMs > 0 && pid === process.pid && runtime === process.version && kernel !== '');
    assert.deepEqual(told, {
      service: 'soci-snapshotter-grpc',
      version: '1.2.3',
      revision: 'abc',
      root: '/var/lib/soci',
      configPath: '/etc/soci.toml',
      sockets: [
        { name: 'containerd', address: '/run/soci.sock' },
        { name: 'admin', address },
        { name: 'metrics', address: '127.0.0.1:9100' },
      ],
      snapshotter: {
        ...rest,
        restore: { ...restore, notRestoredCount: 1, notRestored: [{ key: 'k', layerDigest: 'sha256:1', reason: 'names are gone' }] },
      },
      credentialSources: [
        { name: 'cri', state: 'off', reason: '[cri_keychain] enable_keychain is false' },
        { name: 'kubernetes-secrets', state: 'not-ready', reason: 'the first list is not complete' },
        { name: 'credential-plugins', state: 'ready', reason: '' },
      ],
      troubles: [{ level: 'error', message: 'span rejected', detail: 'host=r.example.com error=refused', count: 1, atMs: 5 }],
    });
  });

  it('is there before a snapshotter is, and without one', async (t) => {
    const { report } = await ask(t, { sources: [], facts: { ...FACTS, snapshotter: new SnapshotterWatch() } });
    assert.equal(report.snapshotter, undefined);
    assert.deepEqual(
      report.sockets.map(({ name }) => name),
      ['admin'],
    );
  });

  it('names a bounded number of snapshots that were not restored', async (t) => {
    const notRestored = Array.from({ length: 5_000 }, (_, i) => ({ key: `k${i}`, layerDigest: 'sha256:1', reason: 'x'.repeat(5_000) }));
    const snapshotter = new SnapshotterWatch();
    const layers = { used: 0, served: 0, complete: 0, slots: 0 };
    const restore = { phase: 'running', total: 5_000, restored: 0, notRestored } as const;
    const state = { mode: undefined, restore, layers, readsWaiting: 0, readsFailed: {}, restarts: undefined };
    snapshotter.opened({ state: () => state, probe: () => Promise.resolve() });
    const { report } = await ask(t, { sources: [], facts: { ...FACTS, snapshotter } });
    assert.equal(report.snapshotter?.restore.notRestoredCount, 5_000);
    assert.equal(report.snapshotter.restore.notRestored.length, 100);
    assert.equal(report.snapshotter.mode, undefined);
    assert.equal(report.snapshotter.restarts, undefined);
  });

  it('is an error of the client where the service tells nothing', async (t) => {
    await assert.rejects(ask(t, { sources: [] }), (error) => error instanceof StatusError && error.code === 'FAILED');
  });
});

describe('RecentTroubles', () => {
  it('keeps each warning and error of a log once, the newest first', () => {
    const troubles = new RecentTroubles({ nowMs: () => 1 });
    const log = createLogger({ destination: { write: (line) => troubles.note(line) } });
    log.info('fine');
    log.warn({ host: 'a' }, 'registry request failed, will retry');
    log.error({ error: new Error('outer', { cause: new Error('inner') }) }, 'span rejected');
    log.warn({ host: 'b' }, 'registry request failed, will retry');
    log.fatal('over');
    assert.deepEqual(
      troubles.list.map(({ level, message, detail, count }) => [level, message, detail, count]),
      [
        ['error', 'over', '', 1],
        ['warning', 'registry request failed, will retry', 'host=b', 2],
        ['error', 'span rejected', 'error=outer: inner', 1],
      ],
    );
  });

  it('holds a bounded number, and nothing that is no line of a log', () => {
    const troubles = new RecentTroubles();
    for (let i = 0; i < 1_000; i++) troubles.note(`{"level":"error","msg":"m${i}"}`);
    for (const line of [
      '',
      'panic',
      '{"level":"error"',
      `{"level":"error","msg":"${'x'.repeat(100_000)}"}`,
      '{"level":"info","msg":"error"}',
    ])
      troubles.note(line);
    assert.equal(troubles.list.length, 20);
    assert.equal(troubles.list[0]?.message, 'm999');
  });
});
