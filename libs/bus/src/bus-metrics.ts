import type { Metrics } from '@soci/metrics';
import { Counter, Gauge } from 'prom-client';
import type { BusState } from './bus.ts';

/** What a bus counts. */
export interface BusCounters {
  request(method: string, outcome: string): void;
  /** A message was not taken. */
  refused(reason: string): void;
  /** A message was not delivered, or not sent. */
  lost(why: string): void;
}

/** Without metrics nothing is counted. */
export function countBus(metrics: Metrics | undefined, state: () => BusState): BusCounters {
  if (metrics === undefined) return { request: () => undefined, refused: () => undefined, lost: () => undefined };
  const registers = [metrics];
  const requests = new Counter({
    name: 'soci_bus_requests_total',
    help: 'Requests sent to other services, by method and outcome.',
    labelNames: ['method', 'outcome'],
    registers,
  });
  const refusals = new Counter({
    name: 'soci_bus_refused_total',
    help: 'Messages that were not taken, by reason.',
    labelNames: ['reason'],
    registers,
  });
  const losses = new Counter({
    name: 'soci_bus_lost_total',
    help: 'Messages that were not sent, or came when nobody waited for them any more, by reason.',
    labelNames: ['reason'],
    registers,
  });
  new Gauge({
    name: 'soci_bus_connected',
    help: 'Whether there is a connection to a server of the bus.',
    registers,
    collect() {
      this.set(state().kind === 'connected' ? 1 : 0);
    },
  });
  return {
    request: (method, outcome) => requests.inc({ method, outcome }),
    refused: (reason) => refusals.inc({ reason }),
    lost: (reason) => losses.inc({ reason }),
  };
}
