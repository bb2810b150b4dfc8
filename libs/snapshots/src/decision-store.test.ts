import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { collectLogs } from '@soci/log';
import { DecisionStore } from './decision-store.ts';
import { ImageDecisions } from './image-decisions.ts';
import type { ImagePlan, ImageRequest } from './image-plan.ts';

const never = new AbortController().signal;
const IMAGE: ImageRequest = { reference: 'registry.example.com/app:1', manifestDigest: 'sha256:aa', namespace: 'k8s.io' };
const NAMES = { slot: 3, layerKey: 'aa-bb', layerDigest: 'sha256:aa', impliedKey: '0', path: '/layers/aa-bb/names-0.erofs' };
const LAZY: ImagePlan = {
  kind: 'lazy',
  layers: [NAMES],
  prefetch: new Map([['sha256:aa', { digest: 'sha256:pp', size: 7, mediaType: 'application/octet-stream' }]]),
  source: { reference: IMAGE.reference, repository: 'registry.example.com/app', namespaces: ['team-a'] },
};
const NO_INDEX: ImagePlan = { kind: 'declined', cause: 'no-index', reason: 'no referrers' };
const FAILED: ImagePlan = { kind: 'declined', cause: 'failed', reason: 'registry is down', error: new Error('reset') };

interface Process {
  readonly decisions: ImageDecisions;
  /** How often the image was looked up. */
  lookups: number;
  answer: ImagePlan;
}

/** Decisions as processes make them that follow each other. */
async function makeNode(t: TestContext): Promise<{ path: string; start: (settings?: string) => Process }> {
  const directory = await mkdtemp(join(tmpdir(), 'soci-decisions-'));
  t.after(() => rm(directory, { recursive: true }));
  const path = join(directory, 'decisions.db');
  return {
    path,
    start: (settings = 'v2') => {
      const decided = new DecisionStore({ path, settings, log: collectLogs().log });
      t.after(() => decided[Symbol.dispose]());
      const planner = { plan: (): Promise<ImagePlan> => Promise.resolve((process.lookups++, process.answer)) };
      const decisions = new ImageDecisions({ planner, timeoutMs: 1_000, decided });
      const process: Process = { decisions, lookups: 0, answer: LAZY };
      return process;
    },
  };
}

describe('decisions about images', () => {
  for (const plan of [LAZY, NO_INDEX]) {
    it(`outlive the process when they are answers: ${plan.kind}`, async (t) => {
      const { start } = await makeNode(t);
      const first = start();
      first.answer = plan;
      await first.decisions.decide(IMAGE, 'chain-0', never);
      const second = start();
      const { plan: kept, isFirst } = await second.decisions.decide(IMAGE, 'chain-1', never);
      assert.deepEqual(kept, plan);
      assert.equal(isFirst, false, 'it was told before');
      assert.equal(second.lookups, 0);
    });
  }

  it('do not when they are failures, were made under other settings, were replaced, or belong to an image that was removed', async (t) => {
    const { start } = await makeNode(t);
    const lookupsAfter = async (change: (process: Process) => void, settings?: string): Promise<number> => {
      const first = start();
      first.decisions.forgetReference(IMAGE.reference);
      await first.decisions.decide(IMAGE, 'chain-0', never);
      change(first);
      const second = start(settings);
      await second.decisions.decide(IMAGE, 'chain-1', never);
      return second.lookups;
    };
    assert.equal(await lookupsAfter(() => undefined), 0);
    assert.equal(await lookupsAfter(({ decisions }) => decisions.replace(IMAGE, FAILED)), 1);
    assert.equal(await lookupsAfter(({ decisions }) => decisions.forgetReference(IMAGE.reference)), 1);
    assert.equal(await lookupsAfter(({ decisions }) => decisions.forget(IMAGE, LAZY)), 1);
    assert.equal(await lookupsAfter(() => undefined, 'v1'), 1);
  });

  it('are made anew when a layer is asked for again that another process was asked for: that is another pull', async (t) => {
    const { start } = await makeNode(t);
    const first = start();
    first.answer = NO_INDEX;
    await first.decisions.decide(IMAGE, 'chain-0', never);
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 6_000 });
    const second = start();
    await second.decisions.decide(IMAGE, 'chain-1', never);
    assert.equal(second.lookups, 0);
    assert.equal((await second.decisions.decide(IMAGE, 'chain-0', never)).plan, LAZY);
    assert.equal(second.lookups, 1);
  });

  it('are forgotten after ten minutes, or when the clock went back', async (t) => {
    const { start } = await makeNode(t);
    const now = Date.now();
    for (const later of [11 * 60_000, -60_000]) {
      t.mock.timers.enable({ apis: ['Date'], now });
      await start().decisions.decide(IMAGE, 'chain-0', never);
      t.mock.timers.setTime(now + later);
      const second = start();
      await second.decisions.decide(IMAGE, 'chain-1', never);
      assert.equal(second.lookups, 1, `${later} ms later`);
      t.mock.timers.reset();
    }
  });

  it('are made anew when their file cannot be read', async (t) => {
    const { start, path } = await makeNode(t);
    await writeFile(path, 'this is no database, but something of another program, or what a bad disk made of it'.repeat(100));
    const process = start();
    await process.decisions.decide(IMAGE, 'chain-0', never);
    assert.equal(process.lookups, 1);
    const next = start();
    await next.decisions.decide(IMAGE, 'chain-1', never);
    assert.equal(next.lookups, 0);
  });
});
