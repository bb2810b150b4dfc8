import assert from 'node:assert/strict';
import { closeSync, fstatSync, readlinkSync, readSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { basic } from '@soci/keychain';
import { createMemory, isSealedMemory } from '@soci/linux';
import { collectLogs } from '@soci/log';
import { CriCredentials, dropKeptPulls, openKeptPulls, type MemoryKeeper } from './index.ts';

const APP = 'registry.example.com/app:1';

/** Does what the keeper does, in this process. */
class OwnKeeper implements MemoryKeeper {
  held: number | undefined;
  drops = 0;
  failure: Error | undefined;

  memory(): number | undefined {
    return this.held;
  }

  hold(_name: string, fd: number): Promise<void> {
    this.held = fd;
    return this.failure === undefined ? Promise.resolve() : Promise.reject(this.failure);
  }

  drop(): void {
    this.held = undefined;
    this.drops++;
  }
}

function setUp(t: TestContext) {
  const keeper = new OwnKeeper();
  const stop = new AbortController();
  const { log, lines } = collectLogs();
  t.after(() => stop.abort());
  return { keeper, stop, lines, options: { keeper, log, signal: stop.signal } };
}

describe('openKeptPulls', () => {
  it('has memory of a sealed size held, and finds it again', async (t) => {
    const { keeper, lines, options } = setUp(t);
    const { signal } = new AbortController(); // whoever is killed is not told
    const before = new CriCredentials({ kept: await openKeptPulls({ ...options, signal }) });
    before.pullStarted(APP, 'a', { kind: 'credential', credential: basic('u', 'secret') }).succeeded('');
    before[Symbol.dispose]();
    assert.ok(keeper.held !== undefined && isSealedMemory(keeper.held));
    const after = new CriCredentials({ kept: await openKeptPulls(options) });
    assert.equal(after.size, 1);
    assert.match(lines.join('\n'), /"entries":1,"generation":2/);
    assert.ok(!lines.join('\n').includes('secret'));
    after[Symbol.dispose]();
  });

  it('is overwritten and let go of when the service is told to stop, not when it ends', async (t) => {
    const { keeper, stop, options } = setUp(t);
    const credentials = new CriCredentials({ kept: await openKeptPulls(options) });
    credentials.pullStarted(APP, 'a', { kind: 'credential', credential: basic('u', 'secret') }).succeeded('');
    credentials[Symbol.dispose]();
    assert.equal(keeper.drops, 0);
    const other = keeper.held ?? -1;
    const page = Buffer.alloc(4096);
    readSync(other, page, 0, page.length, 0);
    assert.ok(page.includes('secret'));
    const drop = keeper.drop.bind(keeper);
    keeper.drop = () => {
      readSync(other, page, 0, page.length, 0);
      drop();
    };
    stop.abort();
    assert.ok(page.every((byte) => byte === 0));
    assert.throws(() => fstatSync(other), { code: 'EBADF' });
    assert.ok((await openKeptPulls(options))?.takeLeft().length === 0, 'a service that starts while it is told to stop has none');
  });

  it('makes new memory in place of one that it does not understand', async (t) => {
    const { keeper, options } = setUp(t);
    for (const sizeBytes of [4096, 72 << 20]) {
      if (keeper.held !== undefined) closeSync(keeper.held);
      keeper.held = createMemory('foreign', sizeBytes);
      const kept = await openKeptPulls({ ...options, signal: new AbortController().signal });
      assert.equal(kept?.generation, 1);
      assert.equal(readlinkSync(`/proc/self/fd/${keeper.held}`), '/memfd:soci-cri (deleted)');
    }
  });

  it('goes without when the keeper does not hold it, and says so', async (t) => {
    const { keeper, lines, options } = setUp(t);
    keeper.failure = new Error('no answer');
    assert.equal(await openKeptPulls(options), undefined);
    assert.match(lines.join('\n'), /will not survive a crash/);
    assert.equal(keeper.held, undefined);
  });

  it('is let go of by a service that does not use it', (t) => {
    const { keeper } = setUp(t);
    dropKeptPulls(keeper);
    assert.equal(keeper.drops, 1);
  });
});
