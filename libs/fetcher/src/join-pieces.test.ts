import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { joinPieces } from './join-pieces.ts';

async function* source(lengths: readonly number[], pauseMs?: number): AsyncGenerator<Uint8Array> {
  for (const [i, length] of lengths.entries()) {
    if (pauseMs !== undefined && i > 0) await sleep(pauseMs);
    yield new Uint8Array(length).fill(i + 1);
  }
}

async function lengths(pieces: AsyncIterable<Uint8Array>): Promise<number[]> {
  return (await Array.fromAsync(pieces)).map(({ length }) => length);
}

describe('joinPieces', () => {
  it('joins what is there already', async () => {
    const out = await lengths(joinPieces(source(Array<number>(100).fill(1000)), 1 << 20));
    assert.equal(
      out.reduce((sum, length) => sum + length, 0),
      100_000,
    );
    assert.ok(out.length <= 3, out.join());
  });

  it('splits what is too long and keeps every byte in order', async () => {
    const out = await Array.fromAsync(joinPieces(source([250_000, 10]), 100_000));
    assert.deepEqual(
      out.map(({ length }) => length),
      [100_000, 100_000, 50_000, 10],
    );
    assert.deepEqual(Buffer.concat(out), Buffer.concat([Buffer.alloc(250_000, 1), Buffer.alloc(10, 2)]));
  });

  it('waits for nothing', async () => {
    assert.deepEqual(await lengths(joinPieces(source([10, 20, 30], 15), 1000)), [10, 20, 30]);
  });

  it('passes a failure on after what came before it', async () => {
    const failing = async function* (): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(5);
      await sleep(1);
      throw new Error('broke');
    };
    const out: number[] = [];
    await assert.rejects(async () => {
      for await (const piece of joinPieces(failing(), 100)) out.push(piece.length);
    }, /broke/);
    assert.deepEqual(out, [5]);
  });

  it('ends its source when the reader leaves', async () => {
    let ended = false;
    const endless = async function* (): AsyncGenerator<Uint8Array> {
      try {
        for (;;) {
          await sleep(1);
          yield new Uint8Array(100_000);
        }
      } finally {
        ended = true;
      }
    };
    for await (const piece of joinPieces(endless(), 1 << 20)) if (piece.length > 0) break;
    await sleep(10);
    assert.ok(ended);
  });
});
