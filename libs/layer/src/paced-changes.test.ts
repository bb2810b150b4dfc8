import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { BlobSourceChange } from './blob-source.ts';
import { PacedChanges } from './paced-changes.ts';
import { PendingChange } from './pending-change.ts';

function make(t: TestContext): { tell: (...hosts: string[]) => void; seen: BlobSourceChange[]; changes: PacedChanges } {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let listener: ((change: BlobSourceChange) => void) | undefined;
  const seen: BlobSourceChange[] = [];
  const onChange = (added: (change: BlobSourceChange) => void): Disposable => {
    listener = added;
    return { [Symbol.dispose]: () => (listener = undefined) };
  };
  const changes = new PacedChanges({ onChange }, (change) => seen.push(change));
  return { seen, changes, tell: (...hosts) => listener?.(hosts.length === 0 ? {} : { hosts }) };
}

describe('PacedChanges', () => {
  it('passes the first on at once, and those that follow closely as one', (t) => {
    const { tell, seen } = make(t);
    tell('a');
    assert.deepEqual(seen, [{ hosts: ['a'] }]);
    tell('b');
    tell('c', 'b');
    assert.equal(seen.length, 1);
    t.mock.timers.tick(100);
    assert.deepEqual(seen[1], { hosts: ['b', 'c'] });
  });

  it('passes on ever less often while there is no end, and is quick again after a pause', (t) => {
    const { tell, seen } = make(t);
    for (let ms = 0; ms < 20_000; ms += 10) {
      tell();
      t.mock.timers.tick(10);
    }
    assert.ok(seen.length >= 10 && seen.length <= 16, `${seen.length} in 20 s`);
    for (let i = 0; i < 10; i++) t.mock.timers.tick(500);
    const before = seen.length;
    tell();
    tell();
    assert.equal(seen.length, before + 1);
    t.mock.timers.tick(100);
    assert.equal(seen.length, before + 2);
  });

  it('passes nothing on once it is disposed of', (t) => {
    const { tell, seen, changes } = make(t);
    tell();
    tell();
    changes[Symbol.dispose]();
    t.mock.timers.tick(5_000);
    assert.equal(seen.length, 1);
  });
});

describe('PendingChange', () => {
  it('holds hosts, up to a number of them', () => {
    const pending = new PendingChange();
    assert.equal(pending.take(), undefined);
    for (let i = 0; i < 256; i++) pending.add({ hosts: [`h${i}`] });
    assert.equal(pending.take()?.hosts?.length, 256);
    assert.equal(pending.take(), undefined);
    for (let i = 0; i < 300; i++) pending.add({ hosts: [`h${i}`] });
    assert.deepEqual(pending.take(), {});
    pending.add({});
    pending.add({ hosts: ['a'] });
    assert.deepEqual(pending.take(), {});
  });
});
