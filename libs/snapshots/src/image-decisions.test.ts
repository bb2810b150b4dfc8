import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ImageDecisions } from './image-decisions.ts';
import type { ImagePlan, ImagePlanner, ImageRequest } from './image-plan.ts';

const never = new AbortController().signal;
const IMAGE: ImageRequest = { reference: 'registry.example.com/app:1', manifestDigest: 'sha256:aa', namespace: 'k8s.io' };
const SOURCE = { reference: IMAGE.reference, repository: 'registry.example.com/app', namespaces: [] };
const LAZY: ImagePlan = { kind: 'lazy', layers: [], prefetch: new Map(), source: SOURCE };
const DECLINED: ImagePlan = { kind: 'declined', cause: 'failed', reason: 'registry is down' };

class ScriptedPlanner implements ImagePlanner {
  plans = 0;
  answer: (signal: AbortSignal) => Promise<ImagePlan> = () => Promise.resolve(LAZY);

  plan(_image: ImageRequest, signal: AbortSignal): Promise<ImagePlan> {
    this.plans++;
    return this.answer(signal);
  }
}

function make(timeoutMs = 10_000): { decisions: ImageDecisions; planner: ScriptedPlanner; clock: { now: number } } {
  const planner = new ScriptedPlanner();
  const clock = { now: 0 };
  return { planner, clock, decisions: new ImageDecisions({ planner, timeoutMs, now: () => clock.now }) };
}

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
}

describe('ImageDecisions', () => {
  it('decides once for all layers of an image, and tells who is first', async () => {
    const { decisions, planner } = make();
    planner.answer = () => Promise.resolve(DECLINED);
    const all = await Promise.all(['a', 'b', 'c'].map((target) => decisions.decide(IMAGE, target, never)));
    assert.equal(planner.plans, 1);
    assert.deepEqual(
      all.map(({ plan, isFirst }) => [plan, isFirst]),
      [
        [DECLINED, true],
        [DECLINED, false],
        [DECLINED, false],
      ],
    );
    await decisions.decide({ ...IMAGE, namespace: 'other' }, 'a', never);
    assert.equal(planner.plans, 2);
  });

  it('keeps a refusal for the layers of one pull, and asks again for the next pull', async () => {
    const { decisions, planner, clock } = make();
    planner.answer = () => Promise.resolve(DECLINED);
    await decisions.decide(IMAGE, 'a', never);
    clock.now = 300_000;
    await decisions.decide(IMAGE, 'b', never);
    assert.equal(planner.plans, 1);
    planner.answer = () => Promise.resolve(LAZY);
    assert.equal((await decisions.decide(IMAGE, 'a', never)).plan, LAZY);
    assert.equal(planner.plans, 2);
  });

  it('takes a repeated question within a moment for a retry of the same pull', async () => {
    const { decisions, planner, clock } = make();
    planner.answer = () => Promise.resolve(DECLINED);
    await decisions.decide(IMAGE, 'a', never);
    clock.now = 4_000;
    await decisions.decide(IMAGE, 'a', never);
    assert.equal(planner.plans, 1);
  });

  it('stops the work when nobody waits for it any more, and not before', async () => {
    const { decisions, planner } = make();
    let stopped = false;
    planner.answer = (signal) => {
      signal.addEventListener('abort', () => (stopped = true));
      return untilAborted(signal);
    };
    const [first, second] = [new AbortController(), new AbortController()];
    const waiting = [decisions.decide(IMAGE, 'a', first.signal), decisions.decide(IMAGE, 'b', second.signal)];
    first.abort(new Error('first left'));
    await assert.rejects(waiting[0] ?? Promise.resolve(), /first left/);
    assert.equal(stopped, false);
    second.abort(new Error('second left'));
    await assert.rejects(waiting[1] ?? Promise.resolve(), /second left/);
    assert.equal(stopped, true);
    planner.answer = () => Promise.resolve(LAZY);
    assert.equal((await decisions.decide(IMAGE, 'a', never)).plan, LAZY);
  });

  it('leaves an image that takes too long to the runtime', async () => {
    const { decisions, planner } = make(5);
    planner.answer = untilAborted;
    const { plan } = await decisions.decide(IMAGE, 'a', never);
    assert.equal(plan.kind, 'declined');
    assert.match(plan.reason, /within 5 ms/);
  });

  it('lets a failed mount decide for the later layers, without another warning', async () => {
    const { decisions, planner } = make();
    await decisions.decide(IMAGE, 'a', never);
    decisions.replace(IMAGE, DECLINED);
    assert.deepEqual(await decisions.decide(IMAGE, 'b', never), { plan: DECLINED, isFirst: false });
    decisions.forget(IMAGE, LAZY);
    assert.equal((await decisions.decide(IMAGE, 'b', never)).plan, DECLINED, 'it is not that plan any more');
    decisions.forget(IMAGE, DECLINED);
    assert.equal((await decisions.decide(IMAGE, 'b', never)).plan, LAZY);
    assert.equal(planner.plans, 2);
  });

  it('asks afresh about an image whose name is forgotten', async () => {
    const { decisions, planner } = make();
    await decisions.decide(IMAGE, 'a', never);
    decisions.forgetReference('registry.example.com/other:1');
    await decisions.decide(IMAGE, 'b', never);
    assert.equal(planner.plans, 1);
    decisions.forgetReference(IMAGE.reference);
    await decisions.decide(IMAGE, 'b', never);
    assert.equal(planner.plans, 2);
  });

  it('remembers a limited number of images', async () => {
    const { decisions, planner } = make();
    for (let i = 0; i < 300; i++) await decisions.decide({ ...IMAGE, reference: `registry.example.com/app:${i}` }, 'a', never);
    await decisions.decide({ ...IMAGE, reference: 'registry.example.com/app:299' }, 'b', never);
    assert.equal(planner.plans, 300);
    await decisions.decide({ ...IMAGE, reference: 'registry.example.com/app:0' }, 'b', never);
    assert.equal(planner.plans, 301);
  });
});
