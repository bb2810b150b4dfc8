import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Bus } from '../bus.ts';
import { plainMethod, question, sealedMethod, testTopic } from './methods.ts';

/** Both ends of a bus. They are one and the same object within a process. */
export interface Ends extends AsyncDisposable {
  readonly asker: Bus;
  readonly answerer: Bus;
  readonly node: string;
}

const never = new AbortController().signal;

/** What every bus does. */
export function busConformance(name: string, open: () => Promise<Ends>): void {
  describe(`Bus: ${name}`, () => {
    for (const method of [plainMethod(), sealedMethod()]) {
      const kind = method.boundTo === undefined ? 'plain' : 'sealed';

      it(`answers requests (${kind}), and tells which node asks`, async () => {
        await using ends = await open();
        ends.answerer.serve(method, ({ text }, { node }) => `${text} of ${node}`);
        assert.equal(await ends.asker.request(method, question('a'), never), `a of ${ends.node}`);
      });

      it(`gives each its own answer (${kind})`, async () => {
        await using ends = await open();
        const turn = Promise.withResolvers<string>();
        ends.answerer.serve(method, async ({ text }) => (text === 'slow' ? await turn.promise : text));
        const slow = ends.asker.request(method, question('slow'), never);
        const quick = await Promise.all(['b', 'c', 'd'].map((text) => ends.asker.request(method, question(text), never)));
        turn.resolve('at last');
        assert.deepEqual([...quick, await slow], ['b', 'c', 'd', 'at last']);
      });

      it(`tells of a handler that failed, and not what it said (${kind})`, async () => {
        await using ends = await open();
        ends.answerer.serve(method, () => Promise.reject(new Error('canary-in-error')));
        await assert.rejects(ends.asker.request(method, question('a'), never), (error: Error) => {
          assert.doesNotMatch(error.message, /canary/);
          return (error as { code?: string }).code === 'FAILED';
        });
      });

      it(`waits no longer than it is told to (${kind})`, async () => {
        await using ends = await open();
        const over = Promise.withResolvers<string>();
        ends.answerer.serve(method, () => over.promise);
        await assert.rejects(ends.asker.request(method, question('a'), never, { timeoutMs: 100 }), { code: 'TIMED_OUT' });
        const controller = new AbortController();
        const waiting = ends.asker.request(method, question('a'), controller.signal);
        controller.abort(new Error('not interested'));
        await assert.rejects(waiting, /not interested/);
        over.resolve('late');
      });
    }

    it('takes no answer from a handler that is gone', async () => {
      await using ends = await open();
      const served = ends.answerer.serve(plainMethod(), () => 'x');
      await ends.asker.request(plainMethod(), question('a'), never);
      served[Symbol.dispose]();
      await assert.rejects(ends.asker.request(plainMethod(), question('a'), never), (error: Error) =>
        ['NO_RESPONDER', 'BUSY'].includes((error as { code?: string }).code ?? ''),
      );
    });

    it('bounds what is under way', async () => {
      await using ends = await open();
      const over = Promise.withResolvers<string>();
      ends.answerer.serve(plainMethod(), () => over.promise);
      const outcomes = Array.from({ length: 2_000 }, () => ends.asker.request(plainMethod(), question('a'), never));
      const settled = Promise.allSettled(outcomes);
      setTimeout(() => over.resolve('done'), 200);
      const codes = (await settled).map((outcome) =>
        outcome.status === 'fulfilled' ? outcome.value : (outcome.reason as { code?: string }).code,
      );
      assert.deepEqual([...new Set(codes)].sort(), ['BUSY', 'done']);
    });

    it('brings events to all who listen, in order, until they do not', async () => {
      await using ends = await open();
      const heard: string[] = [];
      const { promise: all, resolve } = Promise.withResolvers<undefined>();
      const first = ends.asker.subscribe(testTopic(), ([text = '']) => {
        heard.push(`1 ${text}`);
        first[Symbol.dispose]();
      });
      ends.asker.subscribe(testTopic(), ([text = '']) => {
        heard.push(`2 ${text}`);
        if (text === 'c') resolve(undefined);
      });
      for (const text of ['a', 'b', 'c']) ends.answerer.publish(testTopic(), [text]);
      await all;
      assert.deepEqual(heard.sort(), ['1 a', '2 a', '2 b', '2 c']);
    });

    it('says that it is connected', async () => {
      await using ends = await open();
      assert.equal(ends.asker.state.kind, 'connected');
      assert.ok(ends.asker.state.sinceMs <= Date.now());
    });

    it('takes nothing once it is closed', async () => {
      const ends = await open();
      await ends[Symbol.asyncDispose]();
      await assert.rejects(ends.asker.request(plainMethod(), question('a'), never), { code: 'CLOSED' });
    });
  });
}
