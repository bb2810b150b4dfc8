import { collectDefaultMetrics, Registry } from 'prom-client';

/** A registry of series of its own, so that two services in one process, or two tests, do not share any. */
export type Metrics = Registry;

/** @param processMetrics also collect memory, descriptors and event-loop delay of this process */
export function createMetrics({ processMetrics = false } = {}): Metrics {
  const registry = new Registry();
  if (processMetrics) collectDefaultMetrics({ register: registry });
  return registry;
}
