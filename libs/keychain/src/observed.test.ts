import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ImageReference } from '@soci/image';
import { collectLogs } from '@soci/log';
import { createMetrics } from '@soci/metrics';
import {
  basic,
  firstOf,
  identityToken,
  KeychainError,
  observed,
  surveySources,
  type Answer,
  type CredentialSource,
  type Lookup,
} from './index.ts';

const signal = new AbortController().signal;
const lookup: Lookup = {
  host: 'a.example',
  reference: new ImageReference({ host: 'a.example', repository: 'team/app' }),
  namespaces: ['team-a'],
};

function source(name: string, answers: readonly (Answer | Error)[]): CredentialSource {
  let asked = 0;
  return {
    name,
    resolve: () => {
      const answer = answers[asked++ % answers.length];
      return answer === undefined || answer instanceof Error ? Promise.reject(answer ?? new Error('no answer')) : Promise.resolve(answer);
    },
  };
}

function found(entry: string): Answer {
  return { kind: 'candidates', source: 'x', candidates: [{ credential: basic('alice', 'hunter-2'), entry, sinceMs: 1_000 }] };
}

describe('an observed source', () => {
  it('tells of each look-up, to everybody where a host fares another way than before, and never a secret', async () => {
    const { log, lines } = collectLogs();
    const answers = [{ kind: 'none', reason: 'no file' }, found('here'), found('here'), { kind: 'not-ready', reason: 'later' }] as const;
    const subject = observed(source('docker-config', [...answers, new KeychainError('HELPER_FAILED', 'helper broke')]), { log });
    for (const answer of answers) assert.equal(await subject.resolve(lookup, signal), answer);
    await assert.rejects(subject.resolve(lookup, signal), /helper broke/);
    const told = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      told.map(({ level, source: name, host, outcome, reason }) => [level, name, host, outcome, reason]),
      [
        ['debug', 'docker-config', 'a.example', 'none', 'no file'],
        ['info', 'docker-config', 'a.example', 'candidates', undefined],
        ['debug', 'docker-config', 'a.example', 'candidates', undefined],
        ['info', 'docker-config', 'a.example', 'not-ready', 'later'],
        ['info', 'docker-config', 'a.example', 'failed', 'helper broke'],
      ],
    );
    assert.deepEqual(told[1]?.candidates, [{ entry: 'here', kind: 'basic' }]);
    assert.ok(told.every(({ durationMs }) => typeof durationMs === 'number'));
    assert.doesNotMatch(lines.join(), /hunter|alice/);
  });

  it('counts by source and outcome, with others of the same service', async () => {
    const { log } = collectLogs();
    const metrics = createMetrics();
    const one = observed(source('one', [{ kind: 'none' }, found('here')]), { log, metrics });
    const two = observed(source('two', [found('here')]), { log, metrics });
    for (const subject of [one, one, two, two]) await subject.resolve(lookup, signal);
    const aborted = AbortSignal.abort(new Error('no longer wanted'));
    await assert.rejects(observed(source('two', [new Error('no longer wanted')]), { log, metrics }).resolve(lookup, aborted));
    const text = await metrics.metrics();
    for (const line of [
      'soci_credential_lookups_total{source="one",outcome="none"} 1',
      'soci_credential_lookups_total{source="one",outcome="candidates"} 1',
      'soci_credential_lookups_total{source="two",outcome="candidates"} 2',
      'soci_credential_lookups_total{source="two",outcome="cancelled"} 1',
      'soci_credential_lookup_duration_seconds_count{source="two",outcome="candidates"} 2',
    ])
      assert.ok(text.includes(line), line);
  });

  it('passes on refusals and changes where its source knows of them, and only then', () => {
    const { log } = collectLogs();
    const refused: string[] = [];
    const knowing: CredentialSource = {
      ...source('a', []),
      refused: (print) => refused.push(print) > 0,
      onChange: () => ({ [Symbol.dispose]: () => undefined }),
    };
    const chain = firstOf([observed(source('b', []), { log }), observed(knowing, { log })]);
    assert.equal(chain.refused?.('print'), true);
    assert.deepEqual(refused, ['print']);
    assert.deepEqual(Object.keys(observed(source('b', []), { log })).sort(), ['name', 'resolve']);
    assert.deepEqual(Object.keys(observed(knowing, { log })).sort(), ['name', 'onChange', 'refused', 'resolve']);
  });
});

describe('a survey of sources', () => {
  it('has a report of each, in order, and marks where the search ends', async () => {
    const token: Answer = { kind: 'candidates', source: 'c', candidates: [{ credential: identityToken('rt-1'), entry: 'there' }] };
    const sources = [
      source('a', [{ kind: 'none', reason: 'no file' }]),
      source('b', [found('here')]),
      source('c', [token]),
      source('d', [{ kind: 'not-ready', reason: 'first list' }]),
      source('e', [new KeychainError('HELPER_FAILED', 'helper broke')]),
    ];
    const reports = await surveySources(sources, lookup, signal, () => 61_000);
    assert.deepEqual(
      reports.map(({ durationMs, ...report }) => (durationMs >= 0 ? report : undefined)),
      [
        { source: 'a', outcome: 'none', entries: [], reason: 'no file', endsSearch: false },
        { source: 'b', outcome: 'candidates', entries: [{ entry: 'here', kind: 'basic', ageMs: 60_000 }], endsSearch: true },
        { source: 'c', outcome: 'candidates', entries: [{ entry: 'there', kind: 'identity_token' }], endsSearch: false },
        { source: 'd', outcome: 'not-ready', entries: [], reason: 'first list', endsSearch: false },
        { source: 'e', outcome: 'failed', entries: [], reason: 'helper broke', endsSearch: false },
      ],
    );
    assert.doesNotMatch(JSON.stringify(reports), /hunter|alice|rt-1/);
  });

  it('ends when whoever asks gives up', async () => {
    const reason = new Error('no longer wanted');
    await assert.rejects(surveySources([source('a', [new Error('other')])], lookup, AbortSignal.abort(reason)), reason);
    assert.deepEqual(await surveySources([], lookup, signal), []);
  });
});
