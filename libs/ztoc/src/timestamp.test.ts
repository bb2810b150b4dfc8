import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MAX_TIMESTAMP_BYTES, readTimestamp, writeTimestamp, ZERO_TIME_SECONDS } from './timestamp.ts';

function write(seconds: number, nanos: number): string {
  const bytes = Buffer.alloc(MAX_TIMESTAMP_BYTES + 1, '?');
  return bytes.toString('latin1', 1, 1 + writeTimestamp(bytes, 1, seconds, nanos));
}

function read(text: string): readonly [number, number] {
  const time = { seconds: 0, nanos: 0 };
  readTimestamp(Buffer.from(`__${text}__`), 2, 2 + text.length, time);
  return [time.seconds, time.nanos];
}

const times: readonly (readonly [number, number, string])[] = [
  [0, 0, '1970-01-01T00:00:00Z'],
  [1_700_000_001, 250_000_000, '2023-11-14T22:13:21.25Z'],
  [-1, 1, '1969-12-31T23:59:59.000000001Z'],
  [951_782_400, 0, '2000-02-29T00:00:00Z'],
  [4_107_542_399, 999_999_999, '2100-02-28T23:59:59.999999999Z'],
  [ZERO_TIME_SECONDS, 0, '0001-01-01T00:00:00Z'],
  [-62_167_219_200, 0, '0000-01-01T00:00:00Z'],
  [253_402_300_799, 0, '9999-12-31T23:59:59Z'],
];

describe('timestamps', () => {
  for (const [seconds, nanos, text] of times) {
    it(text, () => {
      assert.equal(write(seconds, nanos), text);
      assert.deepEqual(read(text), [seconds, nanos]);
    });
  }

  it('agree with Date on every day for centuries', () => {
    for (let day = -200_000; day < 200_000; day += 1) {
      const seconds = day * 86_400 + ((day * 7919) % 86_400) + 86_400;
      const text = write(seconds, 0);
      assert.equal(text, new Date(seconds * 1000).toISOString().replace('.000', ''));
      assert.equal(read(text)[0], seconds);
    }
  });

  it('write nothing outside the years 0 to 9999', () => {
    for (const seconds of [-62_167_219_201, 253_402_300_800, 2 ** 60, -(2 ** 60)]) assert.equal(write(seconds, 0), '');
  });

  it('read offsets from UTC, and drop digits past the ninth', () => {
    assert.deepEqual(read('2023-11-14T23:13:21+01:00'), [1_700_000_001, 0]);
    assert.deepEqual(read('2023-11-14T17:43:21.1234567891-04:30'), [1_700_000_001, 123_456_789]);
  });

  const none = [
    '',
    'x',
    '2023-11-14',
    '2023-11-14T22:13:21',
    '2023-11-14 22:13:21Z',
    '2023-02-29T00:00:00Z',
    '2023-13-01T00:00:00Z',
    '2023-01-01T24:00:00Z',
    '2023-01-01T00:00:00.Z',
    '2023-01-01T00:00:00Zx',
    '2023-01-01T00:00:00+1:00',
    '20a3-01-01T00:00:00Z',
  ];
  for (const text of none) it(`take ${JSON.stringify(text)} for the zero time`, () => assert.deepEqual(read(text), [ZERO_TIME_SECONDS, 0]));
});
