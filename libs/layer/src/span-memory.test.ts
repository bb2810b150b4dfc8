import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newSpanIndex } from './span-index.ts';
import { SpanMemory } from './span-memory.ts';

const never = new AbortController().signal;
const MEBIBYTE = 1 << 20;

/** Spans of these sizes, of which a quarter is in the blob. */
function indexOf(...sizes: number[]): ReturnType<typeof newSpanIndex> {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const index = newSpanIndex('gzip', sizes.length, 0, total, total / 4);
  let at = 0;
  for (const [span, size] of sizes.entries()) {
    index.startBytes[span] = at;
    index.blobStartBytes[span] = at / 4;
    at += size;
    index.blobEndBytes[span] = at / 4;
  }
  index.startBytes[sizes.length] = at;
  return index;
}

describe('SpanMemory', () => {
  it('holds so much and no more, however many spans come', () => {
    const memory = new SpanMemory();
    const index = indexOf(...Array.from({ length: 60 }, () => 4 * MEBIBYTE));
    const waiting = Array.from({ length: 60 }, (_, span) => memory.enter(index, span, never)).filter(
      (entered) => entered instanceof Promise,
    );
    assert.equal(memory.heldBytes, 25 * 5 * MEBIBYTE);
    assert.equal(waiting.length, 35);
  });

  it('does not let usual spans wait for large ones, of which the largest comes alone', () => {
    const memory = new SpanMemory();
    const index = indexOf(256 * MEBIBYTE, 256 * MEBIBYTE, 4 * MEBIBYTE);
    assert.ok(!(memory.enter(index, 0, never) instanceof Promise));
    assert.ok(memory.enter(index, 1, never) instanceof Promise);
    assert.ok(!(memory.enter(index, 2, never) instanceof Promise));
  });
});
