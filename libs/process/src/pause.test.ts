import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pause } from './index.ts';

describe('pause', () => {
  it('waits until the time has run out', async () => {
    const begin = performance.now();
    const [isOver] = await Promise.all([pause(30, new AbortController().signal), sleep(60)]); // which keeps the process alive
    assert.ok(isOver);
    assert.ok(performance.now() - begin >= 29);
  });

  it('ends early, and without an error, when the signal fires or has fired', async () => {
    assert.equal(await pause(60_000, AbortSignal.abort()), false);
    const stop = new AbortController();
    const waiting = pause(60_000, stop.signal);
    stop.abort(new Error('stopped'));
    assert.equal(await waiting, false);
  });

  it('hides no mistake', async () => {
    await assert.rejects(pause('soon' as unknown as number, new AbortController().signal), { code: 'ERR_INVALID_ARG_TYPE' });
  });
});
