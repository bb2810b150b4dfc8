import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SyscallThread } from './index.ts';

describe('SyscallThread', () => {
  it('answers in the order of the calls', async () => {
    await using thread = new SyscallThread();
    const seen: number[] = [];
    await Promise.all([1, 2, 3].map((n) => thread.run('pathExists', ['/']).then(() => seen.push(n))));
    assert.deepEqual(seen, [1, 2, 3]);
  });

  it('takes a call that is aborted while it waits out of the queue', async () => {
    await using thread = new SyscallThread();
    const controller = new AbortController();
    const first = thread.run('pathExists', ['/']);
    const second = thread.run('pathExists', ['/'], { signal: controller.signal });
    controller.abort(new Error('enough'));
    await assert.rejects(second, /enough/);
    assert.equal(await first, true);
  });

  it('rejects what waits when it is closed', async () => {
    const thread = new SyscallThread();
    const calls = Promise.allSettled([thread.run('pathExists', ['/']), thread.run('pathExists', ['/'])]);
    await thread[Symbol.asyncDispose]();
    assert.deepEqual(
      (await calls).map(({ status }) => status),
      ['rejected', 'rejected'],
    );
  });
});
