import { Counter, Gauge, Histogram } from 'prom-client';
import type { LayerCounters } from '@soci/layer';
import type { Metrics } from '@soci/metrics';
import type { SnapshotterState } from './snapshotter-view.ts';

/** What is counted besides the layer engine's work. */
export interface SnapshotterCounters {
  /** Layers that could not be mounted lazily though their image has an index. */
  lazyFailures: number;
  /** From the start of the process until containerd can connect; undefined until then. */
  startSeconds?: number;
  /** From the begin to the end of the restore; undefined until then. */
  restoreSeconds?: number;
}

export interface CountedSnapshotter {
  readonly counters: LayerCounters | undefined;
  state(): SnapshotterState;
}

/** Reasons that are shown from the start, at 0: a series that appears with its first failure has no rate. */
const READ_FAILURES = ['timeout', 'unavailable', 'mismatch', 'recent-failure', 'table-full', 'unknown-slot', 'disk'];

/** A reader notices from 50 ms on, and none waits longer than `[blob] read_timeout_sec`. */
const WAIT_BUCKETS_SECONDS = [0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30];

/** How long reads waited. It is there before the layers, whose first reads may be waiting already. */
export function readWaits(metrics: Metrics): (seconds: number) => void {
  const series = new Histogram({
    name: 'soci_read_wait_seconds',
    help: 'How long reads waited for bytes, those that failed included.',
    buckets: WAIT_BUCKETS_SECONDS,
    registers: [metrics],
  });
  return (seconds) => series.observe(seconds);
}

/** All other series of the snapshotter. They are totals of this process: names are served by the kernel, so there is nothing to count for each layer. */
export function registerSnapshotterMetrics(metrics: Metrics, own: SnapshotterCounters, view: CountedSnapshotter): void {
  registerGoSeries(metrics, own, view);
  counter(metrics, 'soci_reads_failed_total', 'Reads answered with EIO, by reason.', 'reason', () => {
    return { ...Object.fromEntries(READ_FAILURES.map((reason) => [reason, 0])), ...view.state().readsFailed };
  });
  counter(metrics, 'soci_fuse_requests_resumed_total', 'Requests of an earlier process that were answered by this one.', 'by', () => {
    const { mode, restarts } = view.state();
    const resumed = restarts?.requestsResumed ?? 0;
    return { resend: mode?.continuity === 'resend' ? resumed : 0, journal: mode?.continuity === 'journal' ? resumed : 0 };
  });
  new Counter({
    name: 'soci_service_restarts_total',
    help: 'Services that the keeper started after one that had ended.',
    registers: [metrics],
    collect() {
      this.reset();
      this.inc(view.state().restarts?.count ?? 0);
    },
  });
  gauge(metrics, 'soci_reads_waiting', 'Reads that wait for bytes.', () => view.state().readsWaiting);
  gauge(
    metrics,
    'soci_snapshots_not_restored',
    'Lazy snapshots that could not be mounted again.',
    () => view.state().restore.notRestored.length,
  );
  gauge(metrics, 'soci_start_seconds', 'From the start of the process until containerd can connect.', () => own.startSeconds);
  gauge(metrics, 'soci_restore_seconds', 'From the begin to the end of the restore.', () => own.restoreSeconds);
  new Gauge({
    name: 'soci_layers',
    help: 'Layers in use: served through FUSE, and with all bytes on disk.',
    labelNames: ['state'],
    registers: [metrics],
    collect() {
      const { served, complete } = view.state().layers;
      this.set({ state: 'served' }, served);
      this.set({ state: 'complete' }, complete);
    },
  });
}

/** By the names of the Go snapshotter. */
function registerGoSeries(metrics: Metrics, own: SnapshotterCounters, view: CountedSnapshotter): void {
  new Counter({
    name: 'soci_fs_operation_count',
    help: 'The count of operations of the snapshotter, by type.',
    labelNames: ['layer', 'operation_type'],
    registers: [metrics],
    collect() {
      this.reset();
      for (const [operation, count] of Object.entries(operationCounts(own, view.counters))) {
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
      this.set({ layer: '', operation_type: 'synchronous_bytes_served' }, view.counters?.bytesServed ?? 0);
    },
  });
}

function counter(metrics: Metrics, name: string, help: string, label: string, counts: () => Readonly<Record<string, number>>): void {
  new Counter({
    name,
    help,
    labelNames: [label],
    registers: [metrics],
    collect() {
      this.reset();
      for (const [value, count] of Object.entries(counts())) this.inc({ [label]: value }, count);
    },
  });
}

/** Without a value for as long as that is undefined. */
function gauge(metrics: Metrics, name: string, help: string, value: () => number | undefined): void {
  new Gauge({
    name,
    help,
    registers: [metrics],
    collect() {
      const current = value();
      if (current === undefined) this.remove();
      else this.set(current);
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
