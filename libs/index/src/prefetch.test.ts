import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { countSpans, encodePrefetch, mergeSpans, parsePrefetch, type PrefetchSpan } from './prefetch.ts';

const span = (startSpan: number, endSpan: number): PrefetchSpan => ({ startSpan, endSpan, priority: 0 });
const merged = (...ranges: [number, number][]): number[][] =>
  mergeSpans(ranges.map(([start, end]) => span(start, end))).map(({ startSpan, endSpan }) => [startSpan, endSpan]);

describe('mergeSpans', () => {
  const cases: { name: string; ranges: [number, number][]; want: number[][] }[] = [
    { name: 'nothing', ranges: [], want: [] },
    {
      name: 'overlapping',
      ranges: [
        [0, 10],
        [5, 15],
      ],
      want: [[0, 15]],
    },
    {
      name: 'adjacent',
      ranges: [
        [0, 10],
        [11, 20],
      ],
      want: [[0, 20]],
    },
    {
      name: 'apart',
      ranges: [
        [0, 10],
        [20, 30],
      ],
      want: [
        [0, 10],
        [20, 30],
      ],
    },
    {
      name: 'out of order',
      ranges: [
        [20, 30],
        [0, 10],
        [5, 25],
      ],
      want: [[0, 30]],
    },
    {
      name: 'one inside another',
      ranges: [
        [0, 10],
        [2, 3],
      ],
      want: [[0, 10]],
    },
  ];
  for (const { name, ranges, want } of cases) it(name, () => assert.deepEqual(merged(...ranges), want));
});

describe('prefetch artifacts', () => {
  it('are written as the Go tool writes them', () => {
    assert.equal(
      Buffer.from(encodePrefetch([span(0, 0)])).toString(),
      '{"version":"1.0","prefetch_spans":[{"start_span":0,"end_span":0}]}',
    );
    assert.match(Buffer.from(encodePrefetch([{ ...span(1, 2), priority: 3 }])).toString(), /"end_span":2,"priority":3}/);
    assert.throws(() => encodePrefetch([]), { code: 'PREFETCH_INVALID' });
  });

  it('are read again', () => {
    const spans = [span(0, 0), { ...span(3, 6), priority: -1 }];
    assert.deepEqual(parsePrefetch(encodePrefetch(spans)), spans);
    assert.equal(countSpans(spans), 5);
  });

  const one = '"prefetch_spans":[{"start_span":0,"end_span":0}]';
  for (const text of [
    '',
    '[]',
    'null',
    '{}',
    '{"version":"1.0"}',
    '{"version":"1.0","prefetch_spans":[]}',
    '{"version":"1.0","prefetch_spans":{}}',
    `{"version":"0.9",${one}}`,
    `{"version":1,${one}}`,
    '{"version":"1.0","prefetch_spans":[1]}',
    '{"version":"1.0","prefetch_spans":[{"start_span":-1,"end_span":0}]}',
    '{"version":"1.0","prefetch_spans":[{"start_span":2,"end_span":1}]}',
    '{"version":"1.0","prefetch_spans":[{"start_span":0,"end_span":1e12}]}',
    '{"version":"1.0","prefetch_spans":[{"start_span":0.5,"end_span":1}]}',
    '{"version":"1.0","prefetch_spans":[{"start_span":"0","end_span":"1"}]}',
    `{"version":"1.0","prefetch_spans":[${Array(70_000).fill('{}').join(',')}]}`,
  ]) {
    it(`refused: ${text.slice(0, 70)}`, () => {
      assert.throws(() => parsePrefetch(Buffer.from(text)), { code: 'PREFETCH_INVALID' });
    });
  }
});
