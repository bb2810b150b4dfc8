import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BlobSourceChange } from '@soci/layer';
import { Patience } from './patience.ts';

const never = new AbortController().signal;

type Listener = (change: BlobSourceChange) => void;

function changing(): { source: { onChange(listener: Listener): Disposable }; tell: () => void; listeners: Set<Listener> } {
  const listeners = new Set<Listener>();
  const onChange = (listener: Listener): Disposable => {
    listeners.add(listener);
    return { [Symbol.dispose]: () => void listeners.delete(listener) };
  };
  return { source: { onChange }, listeners, tell: () => listeners.forEach((listener) => listener({})) };
}

async function elapsed(work: Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work;
  return performance.now() - started;
}

describe('Patience', () => {
  it('runs out, however many tries share it', async () => {
    using patience = new Patience({}, 300);
    let tries = 0;
    const took = await elapsed(
      (async () => {
        while (await patience.wait(never)) tries++;
      })(),
    );
    assert.ok(took >= 290 && took < 900, `${took} ms`);
    assert.ok(tries >= 1 && tries <= 3, `${tries} tries`);
  });

  it('waits no longer than to the next change', async () => {
    const { source, tell } = changing();
    using patience = new Patience(source, 10_000);
    const waiting = elapsed(patience.wait(never));
    await sleep(150);
    tell();
    const took = await waiting;
    assert.ok(took < 900, `${took} ms`);
  });

  it('makes no storm of tries where changes never end, and misses none between two waits', async () => {
    const { source, tell } = changing();
    using patience = new Patience(source, 10_000);
    tell();
    assert.ok((await elapsed(patience.wait(never))) < 900);
    const until = performance.now() + 300;
    let tries = 0;
    while (performance.now() < until) {
      tell();
      await patience.wait(never);
      tries++;
    }
    assert.ok(tries <= 8, `${tries} tries`);
  });

  it('ends with its signal, and listens no more once it is disposed of', async () => {
    const { source, listeners } = changing();
    const stop = new AbortController();
    {
      using patience = new Patience(source, 10_000);
      const waiting = patience.wait(stop.signal);
      stop.abort(new Error('enough'));
      await assert.rejects(waiting, /enough/);
      assert.equal(listeners.size, 1);
    }
    assert.equal(listeners.size, 0);
  });
});
