import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { collectLogs } from '@soci/log';
import { UnusedArtifacts } from './unused-artifacts.ts';

/** A table of artifacts that nobody needs. */
class Table {
  readonly digests: Set<string>;

  constructor(count: number) {
    this.digests = new Set(Array.from({ length: count }, (_, i) => `sha256:${i}`));
  }

  unused(limit: number): readonly string[] {
    return [...this.digests].slice(0, limit);
  }

  forget(digests: readonly string[]): void {
    for (const digest of digests) this.digests.delete(digest);
  }
}

describe('UnusedArtifacts', () => {
  it('gives up all there are, some at a time', async () => {
    const table = new Table(2_500);
    const released: string[][] = [];
    const releaseArtifacts = (digests: readonly string[]): Promise<void> => Promise.resolve(void released.push([...digests]));
    const unused = new UnusedArtifacts({
      source: { releaseArtifacts },
      store: { artifacts: table, compact: () => undefined },
      log: collectLogs().log,
    });
    unused.release();
    unused.release();
    while (table.unused(9).length > 0) await new Promise(setImmediate);
    await unused[Symbol.asyncDispose]();
    assert.deepEqual(
      released.map(({ length }) => length),
      [1_000, 1_000, 500],
    );
  });

  it('keeps in mind what could not be given up', async () => {
    const table = new Table(3);
    let isAway = true;
    const releaseArtifacts = (): Promise<void> => (isAway ? Promise.reject(new Error('away')) : Promise.resolve());
    const { log, lines } = collectLogs();
    await using unused = new UnusedArtifacts({ source: { releaseArtifacts }, store: { artifacts: table, compact: () => undefined }, log });
    unused.release();
    while (lines.length === 0) await new Promise(setImmediate);
    assert.equal(table.unused(9).length, 3);
    isAway = false;
    await new Promise(setImmediate);
    unused.release();
    while (table.unused(9).length > 0) await new Promise(setImmediate);
  });

  it('ends at once, and touches no table afterwards', async () => {
    const table = new Table(3);
    const { promise: asked, resolve } = Promise.withResolvers<undefined>();
    const releaseArtifacts = async (_: readonly string[], signal: AbortSignal): Promise<void> => {
      resolve(undefined);
      await new Promise((ended) => signal.addEventListener('abort', ended));
    };
    const unused = new UnusedArtifacts({
      source: { releaseArtifacts },
      store: { artifacts: table, compact: () => undefined },
      log: collectLogs().log,
    });
    unused.release();
    await asked;
    await unused[Symbol.asyncDispose]();
    assert.equal(table.digests.size, 3);
  });
});
