import assert from 'node:assert/strict';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { Worker } from 'node:worker_threads';
import { createMemory, isSealedMemory, mapMemory } from './index.ts';

function create(t: TestContext, sizeBytes: number): number {
  const fd = createMemory('test', sizeBytes);
  t.after(() => closeSync(fd));
  return fd;
}

describe('createMemory', () => {
  it('is zeros of a size that stays', (t) => {
    const fd = create(t, 8192);
    assert.ok(isSealedMemory(fd));
    assert.equal(readSync(fd, Buffer.alloc(10_000)), 8192);
    assert.throws(() => writeSync(fd, 'x', 8192), { code: 'EPERM' });
  });

  it('can be opened by another process under /proc, which sees what is written', (t) => {
    const fd = create(t, 4096);
    const opened = openSync(`/proc/${process.pid}/fd/${fd}`, 'r+');
    t.after(() => closeSync(opened));
    writeSync(fd, 'hello', 100);
    const got = Buffer.alloc(5);
    readSync(opened, got, 0, 5, 100);
    assert.equal(got.toString(), 'hello');
  });
});

describe('mapMemory', () => {
  it('is shared between threads', async (t) => {
    const fd = create(t, 8192);
    const words = new Int32Array(mapMemory(fd, 4096, { offsetBytes: 4096, isPopulated: true }));
    const url = new URL('./memory.ts', import.meta.url).href;
    const program = `const { mapMemory } = await import(${JSON.stringify(url)});
      Atomics.add(new Int32Array(mapMemory(${fd}, 8192)), 1025, 42);`;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`));
    await new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject));
    assert.equal(Atomics.load(words, 1), 42);
  });

  it('refuses what is no such memory, and what cannot be mapped', (t) => {
    const fd = openSync('/dev/zero', 'r+');
    t.after(() => closeSync(fd));
    assert.throws(() => mapMemory(fd, 4096), { code: 'EINVAL', message: /sealed/ });
    assert.throws(() => mapMemory(create(t, 4096), 4096, { offsetBytes: 3 }), { code: 'EINVAL' });
  });
});
