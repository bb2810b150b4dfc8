import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { normalizeArguments } from './arguments.ts';
import { formatAge, GoValueError, parseGoDuration, parseGoInt64, parseGoUint64 } from './go-values.ts';
import { indentJson } from './indent-json.ts';
import { formatTable } from './table.ts';

describe('parseGoInt64', () => {
  const good: readonly (readonly [string, bigint])[] = [
    ['0', 0n],
    ['4194304', 4_194_304n],
    ['-1', -1n],
    ['+7', 7n],
    ['0x400000', 4_194_304n],
    ['0b101', 5n],
    ['0o17', 15n],
    ['017', 15n],
    ['1_000', 1000n],
    ['9223372036854775807', 2n ** 63n - 1n],
    ['-9223372036854775808', -(2n ** 63n)],
  ];
  for (const [text, want] of good) it(`reads ${text}`, () => assert.equal(parseGoInt64(text), want));
  for (const text of ['', 'x', '1.5', '08', '1__0', '_1', '9223372036854775808', '10MiB', ' 1']) {
    it(`refuses ${JSON.stringify(text)}`, () => assert.throws(() => parseGoInt64(text), GoValueError));
  }
  it('tells a number that is too large from no number', () => {
    assert.throws(() => parseGoInt64('99999999999999999999'), /value out of range/);
    assert.throws(() => parseGoUint64('-1'), /invalid syntax/);
    assert.equal(parseGoUint64('18446744073709551615'), 2n ** 64n - 1n);
  });
});

describe('durations', () => {
  const read: readonly (readonly [string, number])[] = [
    ['30s', 30_000],
    ['1m30s', 90_000],
    ['1.5h', 5_400_000],
    ['0', 0],
    ['250ms', 250],
    ['1us', 0.001],
    ['-2s', -2_000],
  ];
  for (const [text, want] of read) it(`${text} is ${want} ms`, () => assert.equal(parseGoDuration(text), want));
  for (const text of ['', '5', 's', '5x', '1s ']) {
    it(`refuses ${JSON.stringify(text)}`, () => assert.throws(() => parseGoDuration(text), GoValueError));
  }
  const ages: readonly (readonly [number, string])[] = [
    [0, '0s ago'],
    [1_499, '1s ago'],
    [61_000, '1m1s ago'],
    [3_600_000, '1h0m0s ago'],
    [90_061_000, '25h1m1s ago'],
  ];
  for (const [ms, want] of ages) it(`${ms} ms is ${want}`, () => assert.equal(formatAge(1_000_000, 1_000_000 + ms), want));
});

describe('formatTable', () => {
  it('pads every cell, the last as well, and counts characters', () => {
    assert.equal(
      formatTable([
        ['DIGEST', 'SIZE'],
        ['ü', '123456789'],
      ]),
      'DIGEST    SIZE         \nü         123456789    \n',
    );
  });
});

describe('indentJson', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['{}', '{}'],
    ['[]', '[]'],
    ['{"a":[],"b":{}}', '{\n  "a": [],\n  "b": {}\n}'],
    ['[1.50,"\\u003c,:{}",null]', '[\n  1.50,\n  "\\u003c,:{}",\n  null\n]'],
    ['{ "a" : { "b" : [ true ] } }', '{\n  "a": {\n    "b": [\n      true\n    ]\n  }\n}'],
    ['"\\\\"', '"\\\\"'],
  ];
  for (const [text, want] of cases) it(text, () => assert.equal(indentJson(text), want));
  it('refuses what is no JSON', () => assert.throws(() => indentJson('{"a":'), SyntaxError));
});

describe('normalizeArguments', () => {
  const known = { long: new Set(['platform', 'force', 'span-size']), boolean: new Set(['force']), letters: new Set(['u']) };
  const cases: readonly (readonly [readonly string[], readonly string[]])[] = [
    [
      ['-platform', 'linux/amd64'],
      ['--platform', 'linux/amd64'],
    ],
    [['-span-size=5'], ['--span-size=5']],
    [['--force=true', '--force=0'], ['--force']],
    [['--force=maybe'], ['--force=maybe']],
    [
      ['-p', 'x', '-unknown', '--other=1'],
      ['-p', 'x', '-unknown', '--other=1'],
    ],
    [
      ['-u=a:b=c', '-q=x', '-u='],
      ['-u', 'a:b=c', '-q=x', '-u', ''],
    ],
    [
      ['--', '-platform'],
      ['--', '-platform'],
    ],
  ];
  for (const [args, want] of cases) it(args.join(' '), () => assert.deepEqual(normalizeArguments(args, known), want));
});
