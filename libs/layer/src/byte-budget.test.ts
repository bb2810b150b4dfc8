import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ByteBudget } from './byte-budget.ts';

const never = new AbortController().signal;

describe('ByteBudget', () => {
  it('lets in what fits, and the others in order when there is room', async () => {
    const budget = new ByteBudget(100);
    const first = budget.enter(60, never);
    const order: string[] = [];
    const waiting = ['b', 'c'].map(async (name, i) => {
      const held = await budget.enter(i === 0 ? 50 : 10, never);
      order.push(name);
      held[Symbol.dispose]();
    });
    assert.ok(!(first instanceof Promise));
    assert.equal(budget.heldBytes, 60, 'the small one does not pass the large one');
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    await Promise.all(waiting);
    assert.deepEqual(order, ['b', 'c']);
    assert.equal(budget.heldBytes, 0);
  });

  it('lets what is larger than all there is in alone', async () => {
    const budget = new ByteBudget(100);
    const small = budget.enter(1, never) as Disposable;
    const large = budget.enter(1_000, never);
    assert.ok(large instanceof Promise);
    small[Symbol.dispose]();
    const held = await large;
    assert.ok(budget.enter(1, never) instanceof Promise);
    held[Symbol.dispose]();
  });

  it('forgets who does not want to wait any more', async () => {
    const budget = new ByteBudget(100);
    const held = budget.enter(90, never) as Disposable;
    const stop = new AbortController();
    const large = budget.enter(50, stop.signal);
    const small = budget.enter(10, never);
    stop.abort(new Error('enough'));
    await assert.rejects(Promise.resolve(large), /enough/);
    (await small)[Symbol.dispose]();
    held[Symbol.dispose]();
    assert.equal(budget.heldBytes, 0);
  });
});
