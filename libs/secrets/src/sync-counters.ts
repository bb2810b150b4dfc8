import { Counter, Gauge } from 'prom-client';
import type { Metrics } from '@soci/metrics';
import type { SecretsErrorCode } from './errors.ts';

/** What happened since the start. */
export class SyncCounters {
  /** Complete lists, the first ones counted. */
  lists = 0;
  /** Lists that had to be repeated, by reason. */
  readonly relists = { gone: 0, outage: 0, unwatched: 0, broken: 0 };
  readonly events = { changed: 0, deleted: 0, bookmark: 0 };
  /** Objects that are no pull secrets of the type asked for. */
  ignored = 0;
  /** By code. */
  readonly errors = new Map<SecretsErrorCode, number>();

  failed(code: SecretsErrorCode): void {
    this.errors.set(code, (this.errors.get(code) ?? 0) + 1);
  }
}

/** @param held number of secrets */
export function registerSyncMetrics(metrics: Metrics, counters: SyncCounters, held: () => number, isSynced: () => boolean): void {
  const registers = [metrics];
  new Counter({
    name: 'soci_secrets_lists_total',
    help: 'Complete lists of pull secrets from the Kubernetes API.',
    registers,
    collect() {
      this.reset();
      this.inc(counters.lists);
    },
  });
  new Counter({
    name: 'soci_secrets_relists_total',
    help: 'Lists of pull secrets that had to be repeated, by reason.',
    labelNames: ['reason'],
    registers,
    collect() {
      this.reset();
      for (const [reason, count] of Object.entries(counters.relists)) this.inc({ reason }, count);
    },
  });
  new Counter({
    name: 'soci_secrets_events_total',
    help: 'Events of pull secrets from the Kubernetes API, by kind.',
    labelNames: ['kind'],
    registers,
    collect() {
      this.reset();
      for (const [kind, count] of Object.entries(counters.events)) this.inc({ kind }, count);
    },
  });
  new Counter({
    name: 'soci_secrets_errors_total',
    help: 'Failed requests to the Kubernetes API, by code.',
    labelNames: ['code'],
    registers,
    collect() {
      this.reset();
      for (const [code, count] of counters.errors) this.inc({ code }, count);
    },
  });
  new Gauge({
    name: 'soci_secrets_held',
    help: 'Pull secrets held.',
    registers,
    collect() {
      this.set(held());
    },
  });
  new Gauge({
    name: 'soci_secrets_synced',
    help: 'Whether all pull secrets have been listed (1) or not (0).',
    registers,
    collect() {
      this.set(isSynced() ? 1 : 0);
    },
  });
}
