import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ReplayWindow } from './replay-window.ts';

const id = (text: string): Buffer => Buffer.from(text.padEnd(16));

describe('ReplayWindow', () => {
  it('takes each id of a node once, for as long as it is good', () => {
    const window = new ReplayWindow();
    window.take('x', id('1'), 100, 0);
    window.take('y', id('1'), 100, 0);
    assert.throws(() => window.take('x', id('1'), 100, 99), { code: 'REPLAYED' });
    assert.equal(window.size, 2);
  });

  it('forgets what is good no more', () => {
    const window = new ReplayWindow();
    for (let i = 0; i < 100; i++) window.take('x', id(String(i)), i, 0);
    window.take('x', id('new'), 300, 200);
    assert.equal(window.size, 1);
  });

  it('takes nothing rather than something twice when it is full, and one node does not fill it for the others', () => {
    const window = new ReplayWindow({ maxEach: 3, maxAll: 5 });
    for (let i = 0; i < 3; i++) window.take('x', id(String(i)), 100, 0);
    assert.throws(() => window.take('x', id('3'), 100, 0), { code: 'BUSY' });
    window.take('y', id('1'), 100, 0);
    window.take('z', id('1'), 100, 0);
    assert.throws(() => window.take('a', id('1'), 100, 0), { code: 'BUSY' });
    window.take('a', id('1'), 300, 200); // room is made of what is old, whoever sent it
    assert.equal(window.size, 1);
  });
});
