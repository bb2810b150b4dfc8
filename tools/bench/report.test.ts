import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatFigure, median, medianRatio, Report, type Bound } from './report.ts';

describe('median', () => {
  for (const { values, want } of [
    { values: [3], want: 3 },
    { values: [10, 9, 1], want: 9 },
    { values: [4, 1, 3, 2], want: 2.5 },
    { values: [], want: Number.NaN },
  ]) {
    it(`of [${values.join(', ')}] is ${want}`, () => assert.equal(median(values), want));
  }

  it('leaves its argument as it was', () => {
    const values = Object.freeze([2, 1]);
    assert.equal(median(values), 1.5);
  });

  it('of ratios compares within a round', () => assert.equal(medianRatio([1, 20, 3], [2, 10, 6]), 0.5));

  it('of ratios is no number where the other side is missing', () => assert.equal(medianRatio([1], []), Number.NaN));
});

describe('formatFigure', () => {
  for (const [value, want] of [
    [0.014, '0.01'],
    [9.994, '9.99'],
    [9.996, '10.0'],
    [99.94, '99.9'],
    [99.96, '100'],
    [1234.5, '1235'],
  ] as const) {
    it(`writes ${value} as ${want}`, () => assert.equal(formatFigure(value), want));
  }
});

describe('Report', () => {
  const print = (use: (report: Report) => void): readonly string[] => {
    let text = '';
    const write = (chunk: string | Uint8Array): boolean => {
      text += String(chunk);
      return true;
    };
    use(new Report({ write }));
    return text.split('\n');
  };

  const cases: readonly { readonly value: number; readonly bound: Bound; readonly want: RegExp }[] = [
    { value: 1, bound: { atMost: 1 }, want: /^ {2}name +1\.00 x +<= 1 +pass$/ },
    { value: 1.001, bound: { atMost: 1 }, want: /FAIL$/ },
    { value: 3, bound: { atLeast: 3 }, want: /3\.00 x +>= 3 +pass$/ },
    { value: 2.9, bound: { atLeast: 3 }, want: /FAIL$/ },
    { value: Number.NaN, bound: { atMost: 1 }, want: /FAIL$/ },
    { value: Number.NaN, bound: { atLeast: 1 }, want: /FAIL$/ },
  ];
  for (const { value, bound, want } of cases) {
    it(`holds ${value} against ${JSON.stringify(bound)}`, () =>
      assert.match(print((report) => report.figure('name', value, 'x', bound))[0]!, want));
  }

  it('counts figures with bounds alone', () => {
    const lines = print((report) => {
      report.heading('section');
      report.figure('a', 1, 'x', { atMost: 1 }, '1 s to 1 s');
      report.figure('b', 2, 'x', { atMost: 1 });
      report.note('c', 5, 'MB', 'as it was');
      report.missing('d', 'no such program');
      report.end();
    });
    assert.equal(lines[1], 'section');
    assert.match(lines[2]!, /pass {3}1 s to 1 s$/);
    assert.match(lines[4]!, /5\.00 MB +as it was$/);
    assert.match(lines[5]!, /d +not measured: no such program$/);
    assert.equal(lines.at(-2), '1 of 2 figures within their bounds');
  });
});
