import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BackgroundFill, type BackgroundFillOptions } from './background-fill.ts';

const OPTIONS: BackgroundFillOptions = { silencePeriodMs: 0, fetchPeriodMs: 1, maxQueueSize: 2, dropPolicy: 'newest' };

function rig(t: TestContext, options: Partial<BackgroundFillOptions> = {}) {
  const filled: string[] = [];
  const state = { isBusy: false, evicted: 0, nowMs: 0, spans: 3, during: (): void => undefined };
  const fill = new BackgroundFill<string>(
    { ...OPTIONS, ...options },
    {
      now: () => state.nowMs,
      isBusy: () => state.isBusy,
      fillOne: (layer) => {
        filled.push(layer);
        state.during();
        return Promise.resolve(filled.filter((name) => name === layer).length < state.spans);
      },
      evicted: () => state.evicted++,
    },
  );
  t.after(() => fill[Symbol.dispose]());
  const until = async (length: number): Promise<void> => {
    while (filled.length < length) await sleep(1);
  };
  return { fill, filled, state, until };
}

describe('BackgroundFill', () => {
  it('takes a span of each layer in turn until all are complete', async (t) => {
    const { fill, filled, until } = rig(t);
    fill.add('a');
    fill.add('b');
    await until(6);
    await sleep(10);
    assert.deepEqual(filled, ['a', 'b', 'a', 'b', 'a', 'b']);
    assert.equal(fill.size, 0);
  });

  for (const [dropPolicy, left] of [
    ['newest', ['a', 'b']],
    ['oldest', ['b', 'c']],
  ] as const) {
    it(`gives up the ${dropPolicy} when too many wait`, async (t) => {
      const { fill, filled, state, until } = rig(t, { dropPolicy });
      for (const layer of ['a', 'b', 'c']) fill.add(layer);
      assert.equal(state.evicted, 1);
      await until(2);
      assert.deepEqual(filled.slice(0, 2), left);
    });
  }

  it('is silent for a while after a layer that is new, and while somebody waits', async (t) => {
    const { fill, filled, state, until } = rig(t, { silencePeriodMs: 1000 });
    fill.add('a');
    await sleep(10);
    state.nowMs = 1000;
    state.isBusy = true;
    await sleep(10);
    assert.deepEqual(filled, []);
    state.isBusy = false;
    await until(1);
  });

  it('does not take a layer up again that was removed meanwhile', async (t) => {
    const { fill, filled, state, until } = rig(t);
    state.during = () => fill.remove('a');
    fill.add('a');
    await until(1);
    await sleep(10);
    assert.deepEqual(filled, ['a']);
  });
});
