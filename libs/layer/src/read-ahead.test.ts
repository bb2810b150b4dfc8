import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ReadAhead, type Touch } from './read-ahead.ts';

function at(span: number, over: Partial<Touch> = {}): Touch {
  return { first: span, last: span, offsetInSpanBytes: 0, fileEndsInSpan: span, ...over };
}

describe('ReadAhead', () => {
  it('stays still for a reader that jumps', () => {
    const ahead = new ReadAhead(16);
    assert.deepEqual(
      [5, 30, 6, 31, 2].map((span) => ahead.touch(at(span, { offsetInSpanBytes: 1 << 20 }))),
      [0, 0, 0, 0, 0],
    );
  });

  it('follows a reader from file to file after the second span, and doubles up to the limit', () => {
    const ahead = new ReadAhead(16);
    assert.deepEqual(
      [1, 2, 3, 4, 5, 6, 7, 8].map((span) => ahead.touch(at(span))),
      [0, 0, 1, 2, 4, 8, 16, 16],
    );
  });

  it('follows at once inside a file, and not beyond it', () => {
    const ahead = new ReadAhead(16);
    assert.deepEqual(
      [1, 2, 3, 4].map((span) => ahead.touch(at(span, { fileEndsInSpan: 6 }))),
      [0, 1, 2, 2],
    );
  });

  it('takes a read over the end of a span for going on', () => {
    const ahead = new ReadAhead(16);
    ahead.touch(at(7, { offsetInSpanBytes: 3 << 20 }));
    assert.equal(ahead.touch(at(7, { last: 8, offsetInSpanBytes: 4 << 20, fileEndsInSpan: 20 })), 1);
  });

  it('begins anew where a neighbour is touched in its middle', () => {
    const ahead = new ReadAhead(16);
    for (const span of [1, 2, 3]) ahead.touch(at(span));
    assert.equal(ahead.touch(at(4, { offsetInSpanBytes: 2 << 20 })), 0);
    assert.equal(ahead.touch(at(5)), 0);
  });

  it('tells two readers apart', () => {
    const ahead = new ReadAhead(16);
    assert.deepEqual(
      [1, 100, 2, 101, 3, 102].map((span) => ahead.touch(at(span))),
      [0, 0, 0, 0, 1, 1],
    );
  });
});
