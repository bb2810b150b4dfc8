import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Guesses } from './guesses.ts';

describe('Guesses', () => {
  it('are made freely at first, and as long as enough of them are used', () => {
    const guesses = new Guesses(100);
    for (let span = 0; span < 4; span++) {
      assert.ok(guesses.isWorthwhile);
      guesses.made(span);
    }
    assert.ok(!guesses.isWorthwhile, 'none of four was used');
    guesses.touched(0);
    assert.ok(!guesses.isWorthwhile, 'one of four');
    guesses.touched(0);
    guesses.touched(50);
    assert.ok(!guesses.isWorthwhile, 'a span counts once, and only when it was a guess');
    guesses.touched(1);
    assert.ok(guesses.isWorthwhile, 'two of four');
  });
});
