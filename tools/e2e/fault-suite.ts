import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { FAULT_ROWS, type FaultObject, type Outcomes } from './fault-outcomes.ts';
import { FaultSite, LIMITS, tryFault } from './fault-rig.ts';

/** For threads to start and two cores to be shared, beyond what is waited for. */
const SLACK_MS = 2_500;
const PARALLEL = 3;
const TEST_TIMEOUT_MS = 60_000;

/** Tries every fault at each of these objects: the outcome is the documented one, in time, and once the fault is over all is as ever. */
export function faultSuite(objects: readonly FaultObject[], times: readonly (keyof Outcomes)[]): void {
  describe('a fault of a registry', { concurrency: PARALLEL }, () => {
    let site: FaultSite;
    before(async () => {
      site = await FaultSite.start();
    });
    after(() => site[Symbol.asyncDispose]());

    for (const object of objects) {
      const boundMs = object === 'span' ? LIMITS.readTimeoutMs : LIMITS.mountTimeoutMs;
      for (const row of FAULT_ROWS) {
        for (const time of times) {
          const expected = row.outcomes[object][time];
          it(`${object}, ${row.name}, ${time}: ${expected}`, { timeout: TEST_TIMEOUT_MS }, async () => {
            const { outcome, elapsedMs, requests, afterwards, lines } = await tryFault(site, object, row, time === 'always');
            const told = `${requests} requests, ${Math.round(elapsedMs)} ms\n${lines.join('')}`;
            assert.equal(outcome, expected, told);
            assert.ok(requests > 0, 'nothing was hit');
            assert.ok(elapsedMs < boundMs + SLACK_MS, told);
            assert.equal(afterwards, 'right bytes', `once it is over; ${told}`);
          });
        }
      }
    }
  });
}
