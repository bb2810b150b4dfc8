import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseGoDuration } from './go-duration.ts';

describe('parseGoDuration', () => {
  for (const [text, ms] of [
    ['5s', 5_000],
    ['500ms', 500],
    ['1.5h', 5_400_000],
    ['1m30s', 90_000],
    ['.5s', 500],
    ['0', 0],
    ['5', undefined],
    ['', undefined],
    ['5 s', undefined],
    ['-5s', -5_000],
    ['1d', undefined],
    ['..s', undefined],
  ] as const)
    it(`reads ${JSON.stringify(text)}`, () => assert.equal(parseGoDuration(text), ms));
});
