import { Counter, Gauge } from 'prom-client';
import type { LayerCounters } from '@soci/layer';
import type { Metrics } from '@soci/metrics';

/** What is counted besides the layer engine's work. */
export interface SnapshotterCounters {
  /** Layers that could not be mounted lazily though their image has an index. */
  lazyFailures: number;
}

/** Series by the names of the Go snapshotter. They are totals of this process: names are served by the kernel, so there is nothing to count for each layer. */
export function registerSnapshotterMetrics(metrics: Metrics, own: SnapshotterCounters, engine: LayerCounters | undefined): void {
  new Counter({
    name: 'soci_fs_operation_count',
    help: 'The count of operations of the snapshotter, by type.',
    labelNames: ['layer', 'operation_type'],
    registers: [metrics],
    collect() {
      this.reset();
      for (const [operation, count] of Object.entries(operationCounts(own, engine))) {
        this.inc({ layer: '', operation_type: operation }, count);
      }
    },
  });
  new Gauge({
    name: 'soci_fs_bytes_served',
    help: 'The bytes of layers that were served to readers after they were fetched for them.',
    labelNames: ['layer', 'operation_type'],
    registers: [metrics],
    collect() {
      this.set({ layer: '', operation_type: 'synchronous_bytes_served' }, engine?.bytesServed ?? 0);
    },
  });
}

function operationCounts({ lazyFailures }: SnapshotterCounters, engine: LayerCounters | undefined): Readonly<Record<string, number>> {
  const failures = engine === undefined ? [] : Object.values(engine.readsFailed);
  return {
    fuse_mount_failure_count: lazyFailures,
    local_mount_failure_count: 0, // nothing is unpacked here
    synchronous_read_count: engine?.misses ?? 0,
    synchronous_read_remote_registry_fetch_count: engine?.requests.demand ?? 0,
    fuse_file_read_failure_count: failures.reduce((sum, count) => sum + count, 0),
    background_span_fetch_count: engine?.requests.fill ?? 0,
    background_span_fetch_failure_count: engine?.fillFailures ?? 0,
    background_fetch_work_queue_evicted: engine?.fillQueueEvicted ?? 0,
  };
}
