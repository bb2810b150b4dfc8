import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseDecimal, parseNumeric, parsePaxTime } from './numbers.ts';

const NOT_A_NUMBER = Number.NaN;

describe('parseNumeric', () => {
  const cases: { name: string; field: string | number[]; want: number }[] = [
    { name: 'octal', field: '0000644\0', want: 0o644 },
    { name: 'octal of full width', field: '77777777', want: 0o77777777 },
    { name: 'spaces and NULs around', field: ' \0 17 \0 ', want: 15 },
    { name: 'only padding', field: ' \0 \0', want: 0 },
    { name: 'nothing after an inner NUL', field: '12\x0099', want: 10 },
    { name: 'a digit that is not octal', field: '0000008\0', want: NOT_A_NUMBER },
    { name: 'a sign', field: '-1', want: NOT_A_NUMBER },
    { name: 'base 256', field: [0x80, 0, 0, 1, 0], want: 256 },
    { name: 'base 256, negative', field: [0xff, 0xff, 0xff, 0xfe], want: -2 },
    { name: 'base 256, the second bit negates', field: [0xc0, 0, 0, 0], want: -(2 ** 30) },
    { name: 'base 256, beyond 64 bits', field: [0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0], want: NOT_A_NUMBER },
  ];
  for (const { name, field, want } of cases) {
    it(name, () => {
      const bytes = typeof field === 'string' ? Buffer.from(field, 'latin1') : Buffer.from(field);
      assert.equal(parseNumeric(Buffer.concat([Buffer.from('77'), bytes, Buffer.from('77')]), 2, bytes.length), want);
    });
  }
});

describe('parseDecimal', () => {
  const cases = {
    '12': 12,
    '+5': 5,
    '-7': -7,
    '007': 7,
    '-0': 0,
    '': NOT_A_NUMBER,
    '-': NOT_A_NUMBER,
    '1e3': NOT_A_NUMBER,
    ' 1': NOT_A_NUMBER,
    '9223372036854775808': NOT_A_NUMBER,
  };
  for (const [text, want] of Object.entries(cases)) {
    it(JSON.stringify(text), () => assert.equal(parseDecimal(Buffer.from(text), 0, text.length), want));
  }
});

describe('parsePaxTime', () => {
  const cases: Record<string, readonly [number, number] | undefined> = {
    '1700000001.25': [1_700_000_001, 250_000_000],
    '1': [1, 0],
    '1.': [1, 0],
    '-1.25': [-2, 750_000_000],
    '-0.5': [-1, 500_000_000],
    '-3': [-3, 0],
    '1.1234567899': [1, 123_456_789],
    '0.000000001': [0, 1],
    '.5': undefined,
    '1.x': undefined,
    '': undefined,
  };
  for (const [text, want] of Object.entries(cases)) {
    it(JSON.stringify(text), () => {
      const time = { mtimeSeconds: 7, mtimeNanos: 7 };
      const isTime = parsePaxTime(Buffer.from(text), 0, text.length, time);
      assert.deepEqual(isTime ? [time.mtimeSeconds, time.mtimeNanos] : undefined, want);
      if (!isTime) assert.deepEqual(time, { mtimeSeconds: 7, mtimeNanos: 7 });
    });
  }
});
