import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { wallClock } from './wall-clock.ts';

describe('wallClock', () => {
  it('tells the time of day within the millisecond that Date tells, and finer', () => {
    const now = wallClock();
    const seen = new Set<bigint>();
    for (let i = 0; i < 1000; i++) {
      const before = BigInt(Date.now()) * 1_000_000n;
      const time = now();
      const after = BigInt(Date.now() + 1) * 1_000_000n;
      assert.ok(before <= time && time <= after);
      seen.add(time);
    }
    assert.ok(seen.size > 100, 'finer than milliseconds');
  });

  it('follows a clock that was set', (t) => {
    const now = wallClock();
    const later = Date.now() + 3_600_000;
    t.mock.method(Date, 'now', () => later);
    assert.equal(now() / 1_000_000n, BigInt(later));
  });
});
