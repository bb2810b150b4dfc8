import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { returnMemoryWhenIdle } from './index.ts';

/** @param steps milliseconds worked in each interval @returns what was done after each */
function run(steps: readonly number[]): string[] {
  mock.timers.enable({ apis: ['setInterval'] });
  try {
    let workedMs = 0;
    let done = '';
    using resources = new DisposableStack();
    const options = {
      intervalMs: 1_000,
      workedMs: () => workedMs,
      collect: () => {
        done += 'c';
        workedMs += 40; // a collection is work, too
      },
      trim: () => void (done += 't'),
    };
    resources.use(returnMemoryWhenIdle(options));
    return steps.map((step) => {
      done = '';
      workedMs += step;
      mock.timers.tick(1_000);
      return done;
    });
  } finally {
    mock.timers.reset();
  }
}

describe('returnMemoryWhenIdle', () => {
  it('does nothing while there is work, and nothing where there was none', () => {
    assert.deepEqual(run([900, 300, 60]), ['', '', '']);
    assert.deepEqual(run([0, 1, 49]), ['', '', '']);
  });

  it('collects once after work, and then gives back for a while what threads that end have freed', () => {
    assert.deepEqual(run([900, 0, ...Array<number>(11).fill(0)]), ['', 'ct', ...Array<string>(9).fill('t'), '', '']);
  });

  it('collects again after more work', () => {
    const done = run([900, 0, 400, 0]);
    assert.deepEqual(done, ['', 'ct', '', 'ct']);
  });
});
