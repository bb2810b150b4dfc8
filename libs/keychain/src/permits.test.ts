import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Permits } from './permits.ts';

describe('permits', () => {
  it('are given in order, and who gives up leaves the line', async () => {
    const permits = new Permits(1);
    const { signal } = new AbortController();
    const impatient = new AbortController();
    const order: string[] = [];
    const first = await permits.take(signal);
    const second = permits.take(impatient.signal);
    const third = permits.take(signal).then((permit) => {
      order.push('third');
      return permit;
    });
    impatient.abort(new Error('enough'));
    await assert.rejects(second, /enough/);
    assert.deepEqual(order, []);
    first[Symbol.dispose]();
    (await third)[Symbol.dispose]();
    (await permits.take(signal))[Symbol.dispose]();
    await assert.rejects(permits.take(impatient.signal), /enough/);
  });
});
