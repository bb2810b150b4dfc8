import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KeyLocks } from './key-locks.ts';

const never = new AbortController().signal;

describe('KeyLocks', () => {
  it('runs the work of one key in turn, that of others at once', async () => {
    const locks = new KeyLocks();
    const events: string[] = [];
    const gate = Promise.withResolvers<undefined>();
    const first = locks.run('a', never, async () => {
      events.push('a1 begins');
      await gate.promise;
      events.push('a1 ends');
    });
    const second = locks.run('a', never, () => Promise.resolve(events.push('a2')));
    await locks.run('b', never, () => Promise.resolve(events.push('b')));
    gate.resolve(undefined);
    await Promise.all([first, second]);
    assert.deepEqual(events, ['a1 begins', 'b', 'a1 ends', 'a2']);
  });

  it('lets a waiting caller go away without letting the next one in early', async () => {
    const locks = new KeyLocks();
    const gate = Promise.withResolvers<undefined>();
    const events: string[] = [];
    const first = locks.run('a', never, () => gate.promise.then(() => void events.push('first')));
    const controller = new AbortController();
    const second = locks.run('a', controller.signal, () => Promise.resolve(events.push('second')));
    const third = locks.run('a', never, () => Promise.resolve(events.push('third')));
    controller.abort(new Error('gone'));
    await assert.rejects(second, /gone/);
    gate.resolve(undefined);
    await Promise.all([first, third]);
    assert.deepEqual(events, ['first', 'third']);
  });

  it('goes on after work that failed', async () => {
    const locks = new KeyLocks();
    await assert.rejects(
      locks.run('a', never, () => Promise.reject(new Error('failed'))),
      /failed/,
    );
    assert.equal(await locks.run('a', never, () => Promise.resolve(1)), 1);
  });
});
