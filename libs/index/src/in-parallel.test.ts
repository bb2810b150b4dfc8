import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { inParallel } from './in-parallel.ts';

const signal = new AbortController().signal;

describe('inParallel', () => {
  it('works on all items, in order, not more than the limit at once', async () => {
    const started: number[] = [];
    let running = 0;
    let most = 0;
    await inParallel(
      [0, 1, 2, 3, 4, 5, 6],
      3,
      async (item) => {
        started.push(item);
        most = Math.max(most, ++running);
        await setImmediate();
        running--;
      },
      signal,
    );
    assert.deepEqual(started, [0, 1, 2, 3, 4, 5, 6]);
    assert.equal(most, 3);
  });

  it('stops the others at the first failure, and waits for them', async () => {
    const ended: string[] = [];
    const work = async (item: string, stop: AbortSignal): Promise<void> => {
      await setImmediate();
      if (item === 'bad') throw new Error('bad');
      while (!stop.aborted) await setImmediate();
      ended.push(item);
    };
    await assert.rejects(inParallel(['good', 'bad', 'never'], 2, work, signal), { message: 'bad' });
    assert.deepEqual(ended, ['good']);
  });

  it('begins nothing when it is told to stop', async () => {
    await assert.rejects(
      inParallel([1], 1, () => assert.fail('began'), AbortSignal.abort(new Error('stop'))),
      { message: 'stop' },
    );
  });

  it('does nothing for nothing', () => inParallel([], 2, () => assert.fail('began'), signal));
});
