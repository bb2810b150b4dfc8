import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { collectLogs } from '@soci/log';
import { ok, problem, type Check } from './check.ts';
import { DoctorContext } from './doctor-context.ts';
import { runChecks } from './run-checks.ts';

const signal = new AbortController().signal;

function contextOf(): DoctorContext {
  const paths = {
    adminAddress: '/nowhere/a',
    configPath: '/nowhere/c',
    containerdConfigPath: '/nowhere/d',
    containerdAddress: '/nowhere/s',
    root: '/',
  };
  return new DoctorContext({ ...paths, registries: [], environment: {}, log: collectLogs().log, nowMs: Date.now });
}

describe('runChecks', () => {
  it('runs all at the same time and keeps their order', async () => {
    using context = contextOf();
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const progress: string[] = [];
    const checks: readonly Check[] = [
      { name: 'first', run: async () => (await promise, ok('late')) },
      { name: 'second', run: () => (resolve(undefined), Promise.resolve([ok('a'), problem('b', 'c')])) },
      { name: 'third', run: () => Promise.resolve([]) },
    ];
    const findings = await runChecks(checks, { context, signal, onProgress: (done, next) => progress.push(`${done} ${next}`) });
    assert.deepEqual(findings, [
      { check: 'first', outcome: 'ok', message: 'late' },
      { check: 'second', outcome: 'ok', message: 'a' },
      { check: 'second', outcome: 'problem', message: 'b', cure: 'c' },
    ]);
    assert.equal(progress.length, 3);
    assert.equal(progress.at(-1), '3 ');
  });

  it('bounds a check that does not heed its deadline, and tells of one that fails', async () => {
    using context = contextOf();
    const checks: readonly Check[] = [
      { name: 'deaf', run: () => new Promise(() => undefined) },
      { name: 'broken', run: () => Promise.reject(new Error('no such thing')) },
    ];
    const findings = await runChecks(checks, { context, signal, deadlineMs: 20 });
    assert.deepEqual(
      findings.map(({ check, outcome, message }) => [check, outcome, message]),
      [
        ['deaf', 'warning', 'no result within 0.02 s'],
        ['broken', 'warning', 'not checked: no such thing'],
      ],
    );
  });

  it('shows what others have worded on one line, without control characters and user information', async () => {
    using context = contextOf();
    const run = () => Promise.resolve(ok('a\n\u001b[31mred https://alice:secret@r.example.com/v2/'));
    assert.deepEqual(await runChecks([{ name: 'x', run }], { context, signal }), [
      { check: 'x', outcome: 'ok', message: 'a [31mred https://r.example.com/v2/' },
    ]);
  });

  it('ends when it is stopped', async () => {
    using context = contextOf();
    const stop = new AbortController();
    const running = runChecks([{ name: 'deaf', run: () => new Promise(() => undefined) }], { context, signal: stop.signal });
    stop.abort(new Error('stopped by SIGINT'));
    await assert.rejects(running, /stopped by SIGINT/);
  });
});
