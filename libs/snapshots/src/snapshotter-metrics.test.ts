import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createMetrics } from '@soci/metrics';
import { RestoreProgress } from './restore-progress.ts';
import { readWaits, registerSnapshotterMetrics, type CountedSnapshotter, type SnapshotterCounters } from './snapshotter-metrics.ts';

const progress = new RestoreProgress();
const view: CountedSnapshotter = {
  counters: undefined,
  state: () => ({
    mode: { mode: 'erofs', reason: '', continuity: 'journal' },
    restore: progress.state(),
    layers: { used: 3, served: 2, complete: 1, slots: 2 },
    readsWaiting: 4,
    readsFailed: { disk: 5 },
    restarts: { count: 6, lastEnd: 'SIGKILL', requestsResumed: 7 },
  }),
};

describe('registerSnapshotterMetrics', () => {
  it('shows counts by the names, and in the form, of the Go snapshotter', async () => {
    const metrics = createMetrics();
    const counters: SnapshotterCounters = { lazyFailures: 0 };
    registerSnapshotterMetrics(metrics, counters, view);
    assert.match(await metrics.metrics(), /^soci_fs_operation_count\{layer="",operation_type="local_mount_failure_count"\} 0$/m);
    counters.lazyFailures = 2;
    assert.match(await metrics.metrics(), /^soci_fs_operation_count\{layer="",operation_type="fuse_mount_failure_count"\} 2$/m);
  });

  it('shows how long reads waited', async () => {
    const metrics = createMetrics();
    const waited = readWaits(metrics);
    for (const seconds of [0.0078125, 0.25, 40]) waited(seconds);
    const lines = (await metrics.metrics()).split('\n');
    for (const line of [
      'bucket{le="0.01"} 1',
      'bucket{le="0.5"} 2',
      'bucket{le="30"} 2',
      'bucket{le="+Inf"} 3',
      'sum 40.2578125',
      'count 3',
    ])
      assert.ok(lines.includes(`soci_read_wait_seconds_${line}`), line);
  });

  it('shows what a restart found, and what fails and waits, with a series for each reason from the start', async () => {
    const metrics = createMetrics();
    const counters: SnapshotterCounters = { lazyFailures: 0 };
    registerSnapshotterMetrics(metrics, counters, view);
    progress.begin([1, 2]);
    progress.failed(2, { key: 'sha256:aa', layerDigest: 'sha256:bb', reason: 'its layer is not on disk' });
    const wanted = [
      'soci_reads_failed_total{reason="disk"} 5',
      'soci_reads_failed_total{reason="timeout"} 0',
      'soci_fuse_requests_resumed_total{by="journal"} 7',
      'soci_fuse_requests_resumed_total{by="resend"} 0',
      'soci_service_restarts_total 6',
      'soci_reads_waiting 4',
      'soci_snapshots_not_restored 1',
      'soci_layers{state="served"} 2',
      'soci_layers{state="complete"} 1',
    ];
    const lines = (await metrics.metrics()).split('\n');
    for (const line of wanted) assert.ok(lines.includes(line), line);
    assert.ok(!lines.some((line) => line.startsWith('soci_restore_seconds ')), 'no value before the restore is over');
    counters.restoreSeconds = 0.5;
    assert.match(await metrics.metrics(), /^soci_restore_seconds 0.5$/m);
    progress.done(2);
    assert.match(await metrics.metrics(), /^soci_snapshots_not_restored 0$/m);
  });
});
