import { describeError } from '@soci/errors';
import type { Logger } from '@soci/log';
import type { Metrics } from '@soci/metrics';
import type { Counter, Histogram } from 'prom-client';
import { BoundedMap } from './bounded-map.ts';
import type { Answer, CredentialSource, Lookup } from './source.ts';
import type { SourceOutcome } from './survey.ts';

export interface ObservedOptions {
  readonly log: Logger;
  /** All sources of one service may be given the same. */
  readonly metrics?: Metrics;
}

/** `cancelled`: whoever asked did not wait for the answer. */
type Outcome = SourceOutcome | 'cancelled';
type Label = 'source' | 'outcome';

const LOOKUPS = 'soci_credential_lookups_total';
const DURATION = 'soci_credential_lookup_duration_seconds';
const DURATION_BUCKETS_SECONDS = [0.001, 0.01, 0.1, 1, 10, 60];
const MAX_HOSTS = 512;

/**
 * The same source, with a log line and a count for each of its look-ups. The line is for debugging, but where a host's outcome is another than before (the first, if there is one
 * besides `none`) it is for everybody.
 */
export function observed(source: CredentialSource, { log, metrics }: ObservedOptions): CredentialSource {
  const outcomes = new BoundedMap<string, Outcome>(MAX_HOSTS);
  const report = (lookup: Lookup, series: Series | undefined, begin: number, outcome: Outcome, found: object): void => {
    const durationMs = performance.now() - begin;
    const labels = { source: source.name, outcome };
    series?.lookups.inc(labels);
    series?.duration.observe(labels, durationMs / 1_000);
    const isNews = outcome !== 'cancelled' && outcome !== (outcomes.get(lookup.host) ?? 'none');
    if (outcome !== 'cancelled') outcomes.set(lookup.host, outcome);
    const { host, reference, namespaces } = lookup;
    const fields = {
      ...labels,
      host,
      repository: reference.repository,
      namespaces,
      ...found,
      durationMs: Math.round(durationMs * 10) / 10,
    };
    if (isNews) log.info(fields, 'credentials looked up');
    else log.debug(fields, 'credentials looked up');
  };
  return {
    name: source.name,
    async resolve(lookup, signal) {
      const series = metrics === undefined ? undefined : await seriesOf(metrics);
      const begin = performance.now();
      try {
        const answer = await source.resolve(lookup, signal);
        report(lookup, series, begin, answer.kind, describeFinding(answer));
        return answer;
      } catch (error) {
        report(lookup, series, begin, signal.aborted ? 'cancelled' : 'failed', { reason: describeError(error) });
        throw error;
      }
    },
    ...(source.refused === undefined ? {} : { refused: (print: string) => source.refused?.(print) ?? false }),
    ...(source.onChange === undefined ? {} : { onChange: source.onChange.bind(source) }),
  };
}

function describeFinding(answer: Answer): object {
  if (answer.kind !== 'candidates') return answer.reason === undefined ? {} : { reason: answer.reason };
  return { candidates: answer.candidates.map(({ entry, credential }) => ({ entry, kind: credential.kind })) };
}

interface Series {
  readonly lookups: Counter<Label>;
  readonly duration: Histogram<Label>;
}

/** Several sources count in the same two series. The library is loaded when it is used: commands that look up once do without. */
async function seriesOf(metrics: Metrics): Promise<Series> {
  const { Counter, Histogram } = await import('prom-client');
  const lookups = metrics.getSingleMetric(LOOKUPS);
  const duration = metrics.getSingleMetric(DURATION);
  if (lookups instanceof Counter && duration instanceof Histogram) return { lookups, duration };
  const labelNames: Label[] = ['source', 'outcome'];
  return {
    lookups: new Counter({
      name: LOOKUPS,
      help: 'Look-ups of registry credentials, by source and outcome.',
      labelNames,
      registers: [metrics],
    }),
    duration: new Histogram({
      name: DURATION,
      help: 'Time that look-ups of registry credentials took, by source and outcome.',
      labelNames,
      buckets: DURATION_BUCKETS_SECONDS,
      registers: [metrics],
    }),
  };
}
