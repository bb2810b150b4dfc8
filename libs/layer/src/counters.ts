/** Why a read was answered with EIO. */
export type ReadFailure = 'timeout' | 'unavailable' | 'mismatch' | 'recent-failure' | 'table-full' | 'unknown-slot' | 'disk';

/** What the engine did since it was made; plain numbers that only grow, for metrics and tests. */
export interface LayerCounters {
  requests: { demand: number; 'read-ahead': number; fill: number };
  /** Compressed bytes received. */
  bytesFetched: { demand: number; 'read-ahead': number; fill: number };
  /** Spans verified, inflated and on disk. */
  spansStored: number;
  /** Spans that were under way, or here, before they were read for the first time. */
  readAheadUsed: number;
  spansRejected: number;
  /** Reads that came from the workers because bytes were missing. */
  misses: number;
  readsAnswered: number;
  bytesServed: number;
  readsFailed: Record<ReadFailure, number>;
  fillFailures: number;
  fillQueueEvicted: number;
}

export function newCounters(): LayerCounters {
  return {
    requests: { demand: 0, 'read-ahead': 0, fill: 0 },
    bytesFetched: { demand: 0, 'read-ahead': 0, fill: 0 },
    spansStored: 0,
    readAheadUsed: 0,
    spansRejected: 0,
    misses: 0,
    readsAnswered: 0,
    bytesServed: 0,
    readsFailed: { timeout: 0, unavailable: 0, mismatch: 0, 'recent-failure': 0, 'table-full': 0, 'unknown-slot': 0, disk: 0 },
    fillFailures: 0,
    fillQueueEvicted: 0,
  };
}
