import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EMPTY, keyOf, possibleStates, type Operation, type Outcome } from './snapshot-model.ts';

type Call = readonly [Operation, Outcome, number, number];
const cases: readonly { readonly name: string; readonly calls: readonly Call[]; readonly want: readonly string[] }[] = [
  {
    name: 'one after the other',
    calls: [
      ['prepare', 'ok', 0, 1],
      ['commit', 'ok', 2, 3],
    ],
    want: ['layer'],
  },
  {
    name: 'an answer that cannot be',
    calls: [
      ['prepare', 'ok', 0, 1],
      ['commit', 'NOT_FOUND', 2, 3],
    ],
    want: [],
  },
  {
    name: 'the same at the same time',
    calls: [
      ['prepare', 'ok', 0, 3],
      ['commit', 'NOT_FOUND', 2, 3],
    ],
    want: ['active'],
  },
  {
    name: 'two, of which one is late',
    calls: [
      ['prepare', 'ok', 0, 5],
      ['prepare', 'ALREADY_EXISTS', 1, 4],
    ],
    want: ['active'],
  },
  {
    name: 'two that both win',
    calls: [
      ['prepare', 'ok', 0, 5],
      ['prepare', 'ok', 1, 4],
    ],
    want: [],
  },
  {
    name: 'a look at what becomes a layer',
    calls: [
      ['prepare lazily', 'ALREADY_EXISTS', 0, 5],
      ['mounts', 'ok', 1, 2],
    ],
    want: ['layer'],
  },
  { name: 'a call that nobody heard of', calls: [['prepare', 'unknown', 0, 1]], want: ['active', 'nothing'] },
  { name: 'a lazy one that nobody heard of', calls: [['prepare lazily', 'unknown', 0, 1]], want: ['active', 'layer', 'nothing'] },
  {
    name: 'one that took effect late',
    calls: [
      ['prepare', 'unknown', 0, 1],
      ['remove', 'NOT_FOUND', 2, 3],
    ],
    want: ['active', 'nothing'],
  },
  {
    name: 'a layer in use',
    calls: [
      ['prepare lazily', 'ALREADY_EXISTS', 0, 1],
      ['prepare container', 'ok', 2, 3],
      ['remove layer', 'FAILED_PRECONDITION', 4, 5],
    ],
    want: ['layer+container'],
  },
];

describe('possibleStates', () => {
  for (const { name, calls, want } of cases) {
    it(name, () => {
      const past = calls.map(([operation, outcome, beginMs, endMs]) => ({ operation, outcome, beginMs, endMs }));
      assert.deepEqual(possibleStates(EMPTY, past).map(keyOf).toSorted(), want);
    });
  }
});
