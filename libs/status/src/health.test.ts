import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { collectLogs } from '@soci/log';
import { createMetrics, serveMetrics } from '@soci/metrics';
import {
  healthRoutes,
  openStatus,
  registerHealthMetrics,
  serveAdmin,
  ServiceHealth,
  SnapshotterWatch,
  type HealthCondition,
  type SnapshotterState,
  type SnapshotterView,
} from './index.ts';

const signal = new AbortController().signal;

const STATE: SnapshotterState = {
  mode: { mode: 'erofs', reason: 'EROFS over FUSE', continuity: 'resend' },
  restore: { phase: 'finished', total: 3, restored: 3, notRestored: [] },
  layers: { used: 3, served: 2, complete: 1, slots: 4 },
  readsWaiting: 0,
  readsFailed: {},
  restarts: { count: 0, lastEnd: '', requestsResumed: 0 },
};

function watchOf(state: SnapshotterState, probe: SnapshotterView['probe'] = () => Promise.resolve()): SnapshotterWatch {
  const watch = new SnapshotterWatch();
  watch.opened({ state: () => state, probe });
  watch.serving('/run/x.sock');
  return watch;
}

async function messages(watch: SnapshotterWatch): Promise<readonly string[]> {
  const { checks } = await new ServiceHealth({ conditions: watch.conditions() }).ready();
  return checks.map(({ name, ok, message }) => `${ok ? '+' : '-'} ${name}: ${message}`);
}

describe('readiness of a snapshotter', () => {
  it('is given when it serves, has restored, and bytes come through the mount', async () => {
    const [socket, restore, read] = await messages(watchOf(STATE));
    assert.equal(socket, '+ containerd-socket: served at /run/x.sock');
    assert.equal(restore, '+ restore: 3 of 3 lazy snapshots restored');
    assert.match(read ?? '', /^\+ fuse-read: read through the mount in \d+ ms$/);
  });

  it('says in words what is being waited for before all that', async () => {
    assert.deepEqual(await messages(new SnapshotterWatch()), [
      "- containerd-socket: containerd's socket is not served",
      '- restore: snapshots are not restored yet',
      '- fuse-read: the kernel is being tried out',
    ]);
    const restoring = { ...STATE, restore: { phase: 'running', total: 400, restored: 12, notRestored: [] } } as const;
    assert.equal((await messages(watchOf(restoring)))[1], '- restore: 12 of 400 lazy snapshots restored so far');
  });

  it('tells how many snapshots could not be restored; the others are of use', async () => {
    const notRestored = [{ key: 'k', layerDigest: 'sha256:1', reason: 'gone' }];
    const watch = watchOf({ ...STATE, restore: { phase: 'finished', total: 3, restored: 2, notRestored } });
    assert.equal((await messages(watch))[1], '+ restore: 2 of 3 lazy snapshots restored, 1 could not be and are tried again on use');
  });

  it('reads nothing where nothing is served lazily', async () => {
    const plain = { ...STATE, mode: { mode: 'plain', reason: 'no /dev/fuse', continuity: '' } };
    const watch = watchOf(plain, () => Promise.reject(new Error('must not be called')));
    assert.equal((await messages(watch))[2], '+ fuse-read: nothing is served lazily: no /dev/fuse');
  });

  it('is not given when the read fails, or when the service stops', async () => {
    const watch = watchOf(STATE, () => Promise.reject(new Error('EIO')));
    watch.stopping();
    const [socket, , read] = await messages(watch);
    assert.equal(socket, "- containerd-socket: containerd's socket is not served");
    assert.equal(read, '- fuse-read: EIO');
  });
});

/** A condition that answers when it is told to. */
class Gate implements HealthCondition {
  readonly name = 'gate';
  calls = 0;
  readonly #waiting: (() => void)[] = [];

  async check(): Promise<{ ok: boolean; message: string }> {
    this.calls++;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return { ok: true, message: 'open' };
  }

  open(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

describe('ServiceHealth', () => {
  it('looks once for all who ask at the same time, and again after a second', async () => {
    const gate = new Gate();
    let nowMs = 0;
    const health = new ServiceHealth({ conditions: [gate], nowMs: () => nowMs });
    const asked = Array.from({ length: 100 }, () => health.ready());
    gate.open();
    for (const report of await Promise.all(asked)) assert.ok(report.ok);
    nowMs = 999;
    assert.ok((await health.ready()).ok);
    assert.equal(gate.calls, 1);
    nowMs = 1_000;
    const again = health.ready();
    gate.open();
    await again;
    assert.equal(gate.calls, 2);
  });

  it('answers by its deadline, and begins no second check while the first has not come back', async () => {
    const gate = new Gate();
    let nowMs = 0;
    const health = new ServiceHealth({ conditions: [gate], nowMs: () => nowMs, deadlineMs: 20 });
    assert.deepEqual((await health.ready()).checks, [{ name: 'gate', ok: false, message: 'no result within 20 ms' }]);
    nowMs = 7_000;
    assert.deepEqual((await health.ready()).checks, [
      { name: 'gate', ok: false, message: 'the check that began 7 s ago has not come back' },
    ]);
    assert.equal(gate.calls, 1);
    gate.open();
    nowMs = 9_000;
    await new Promise((resolve) => setImmediate(resolve));
    const after = health.ready();
    gate.open();
    assert.ok((await after).ok);
  });

  it('aborts a check that takes too long', async () => {
    const aborted = Promise.withResolvers<boolean>();
    const check = (given: AbortSignal) =>
      new Promise<never>((_, reject) =>
        given.addEventListener('abort', () => {
          aborted.resolve(true);
          reject(given.reason as Error);
        }),
      );
    const health = new ServiceHealth({ conditions: [{ name: 'slow', check }], deadlineMs: 20 });
    assert.ok(!(await health.ready()).ok);
    assert.ok(await aborted.promise);
  });

  it('is alive as long as its main loop goes round', async () => {
    assert.match((await new ServiceHealth().live()).checks[0]?.message ?? '', /^went round in \d+ ms$/);
    let nowMs = 0;
    const { ok } = await new ServiceHealth({ nowMs: () => (nowMs += 3_000) }).live();
    assert.ok(!ok);
  });
});

describe('health over HTTP and over the admin socket', () => {
  it('is 200 or 503, as text or as JSON, and is counted', async () => {
    const watch = new SnapshotterWatch();
    const health = new ServiceHealth({ conditions: watch.conditions(), nowMs: growing() });
    const metrics = createMetrics();
    await registerHealthMetrics(metrics, health);
    await using server = await serveMetrics(metrics, 'tcp', '127.0.0.1:0', { routes: healthRoutes(health) });
    const ask = (path: string, accept = '*/*') => fetch(`http://${server.address}${path}`, { headers: { accept } });
    const alive = await ask('/healthz');
    assert.deepEqual([alive.status, await alive.text()], [200, '[+] main-loop: went round in 1000 ms\nok\n']);
    const waiting = await ask('/readyz');
    assert.equal(waiting.status, 503);
    assert.match(
      await waiting.text(),
      /^\[-\] containerd-socket: containerd's socket is not served\n\[-\] restore: .*\n\[-\] fuse-read: .*\nnot ready\n$/,
    );
    watch.opened({ state: () => STATE, probe: () => Promise.resolve() });
    watch.serving('/run/x.sock');
    const ready = await ask('/readyz', 'application/json');
    assert.deepEqual([ready.status, ready.headers.get('content-type')], [200, 'application/json']);
    assert.equal(((await ready.json()) as { ok: boolean }).ok, true);
    const text = await (await ask('/metrics')).text();
    assert.match(text, /^soci_health_checks_total\{check="restore",outcome="ok"\} 1$/m);
    assert.match(text, /^soci_health_checks_total\{check="restore",outcome="failed"\} 1$/m);
    assert.match(text, /^soci_health_check_seconds_total\{check="fuse-read"\} \d+$/m);
  });

  it('is the same on the admin socket', async (t) => {
    const health = new ServiceHealth({ conditions: watchOf(STATE).conditions() });
    using client = openStatus(await startAdmin(t, health));
    const { live, ready } = await client.health(signal);
    assert.ok(live.ok && ready.ok);
    assert.deepEqual(
      ready.checks.map(({ name }) => name),
      ['containerd-socket', 'restore', 'fuse-read'],
    );
  });
});

function growing(): () => number {
  let nowMs = 0;
  return () => (nowMs += 1_000);
}

async function startAdmin(t: TestContext, health: ServiceHealth): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'soci-health-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const address = join(folder, 'admin.sock');
  const server = await serveAdmin({ address, log: collectLogs().log, sources: [], health });
  t.after(() => server?.stop());
  return address;
}
