import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { collectLogs } from '@soci/log';
import { runMain, untilAborted } from './index.ts';

async function run(main: (signal: AbortSignal) => Promise<void>, graceMs = 1_000) {
  const { log, lines } = collectLogs();
  const codes: number[] = [];
  await runMain(main, { log, graceMs, name: 'test', exit: (code) => void codes.push(code) });
  process.removeAllListeners('SIGTERM').removeAllListeners('SIGINT');
  return { codes, lines };
}

describe('runMain', () => {
  it('ends with 0 after a signal', async () => {
    const { codes, lines } = await run((signal) => {
      process.emit('SIGTERM', 'SIGTERM');
      return untilAborted(signal);
    });
    assert.deepEqual(codes, [0]);
    assert.match(lines.join('\n'), /Got terminated[\s\S]*Exiting/);
  });

  it('ends with 1 and one line that holds the causes', async () => {
    const { codes, lines } = await run(() => Promise.reject(new Error('cannot listen', { cause: new Error('in use') })));
    assert.deepEqual(codes, [1]);
    assert.match(lines[0] ?? '', /"msg":"test: cannot listen: in use"/);
  });

  it('ends the process when the grace period is over', async () => {
    const { codes, lines } = await run(async (signal) => {
      process.emit('SIGTERM', 'SIGTERM');
      await untilAborted(signal);
      await new Promise((resolve) => setTimeout(resolve, 60));
    }, 20);
    assert.deepEqual(codes, [1, 0]);
    assert.match(lines.join('\n'), /did not stop in time/);
  });
});
