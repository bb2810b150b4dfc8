import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Turnstile } from './turnstile.ts';

describe('Turnstile', () => {
  it('lets in in order, and who gives up leaves the line', async () => {
    const turnstile = new Turnstile(1);
    const { signal } = new AbortController();
    const impatient = new AbortController();
    const order: string[] = [];
    const first = await turnstile.enter(signal);
    const second = turnstile.enter(impatient.signal);
    const third = turnstile.enter(signal).then((turn) => {
      order.push('third');
      return turn;
    });
    impatient.abort(new Error('enough'));
    await assert.rejects(second, /enough/);
    assert.deepEqual(order, []);
    first[Symbol.dispose]();
    (await third)[Symbol.dispose]();
    (await turnstile.enter(signal))[Symbol.dispose]();
    await assert.rejects(turnstile.enter(impatient.signal), /enough/);
  });
});
