import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BoundedQueue } from './bounded-queue.ts';
import { isNodeId, toNodeId } from './node-id.ts';

describe('BoundedQueue', () => {
  it('runs so many at a time, lets so many wait, and one client does not take all the room', async () => {
    const queue = new BoundedQueue({ maxRunning: 2, maxQueued: 3, maxQueuedEach: 4 });
    const ran: string[] = [];
    const gate = Promise.withResolvers<undefined>();
    const done = Promise.withResolvers<undefined>();
    const add = (client: string, name: string): boolean =>
      queue.add(client, async () => {
        ran.push(name);
        await gate.promise;
        if (name === 'last') done.resolve(undefined);
      });
    assert.deepEqual(
      ['1', '2', '3', '4', '5'].map((name) => add('x', name)),
      [true, true, true, true, false],
    );
    assert.deepEqual([add('y', 'last'), add('z', 'none')], [true, false]);
    assert.deepEqual(ran, ['1', '2']);
    gate.resolve(undefined);
    await done.promise;
    assert.deepEqual(ran, ['1', '2', '3', '4', 'last']);
    assert.ok(add('x', 'again'));
  });
});

describe('ids of nodes', () => {
  it('are names with underscores for dots, and nothing that has a meaning in a subject', () => {
    assert.equal(toNodeId('Ip-10-0-0-1.ec2.Internal'), 'ip-10-0-0-1_ec2_internal');
    for (const wrong of ['', '.', '*', '>', 'a.b', 'a b', '_all', 'A', '-a', 'a-', 'ä', 'a'.repeat(254)])
      assert.ok(!isNodeId(wrong), wrong);
    for (const wrong of ['', 'a_b', '.a', 'a*', 'a>']) assert.throws(() => toNodeId(wrong), TypeError, wrong);
    assert.ok(isNodeId('a'.repeat(253)));
  });
});
