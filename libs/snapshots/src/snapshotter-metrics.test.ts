import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createMetrics } from '@soci/metrics';
import { registerSnapshotterMetrics } from './snapshotter-metrics.ts';

describe('registerSnapshotterMetrics', () => {
  it('shows counts by the names, and in the form, of the Go snapshotter', async () => {
    const metrics = createMetrics();
    const counters = { lazyFailures: 0 };
    registerSnapshotterMetrics(metrics, counters, undefined);
    assert.match(await metrics.metrics(), /^soci_fs_operation_count\{layer="",operation_type="local_mount_failure_count"\} 0$/m);
    counters.lazyFailures = 2;
    assert.match(await metrics.metrics(), /^soci_fs_operation_count\{layer="",operation_type="fuse_mount_failure_count"\} 2$/m);
  });
});
