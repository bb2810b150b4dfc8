import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { waitFor } from '@soci/testing';
import { InstalledTree } from '../installed-tree.ts';
import { makeReadImage } from '../read-image.ts';
import { ROOT, scratchFolder, type Stack } from '../stack.ts';
import { AS_A_UNIT, pullForReading, readThrough, startNode, type Shape } from '../survivors.ts';

const run = promisify(execFile);
const VERSIONS = ['100.1.0', '100.2.0'] as const;
const MAX_STALL_MS = 2_000;
const PASS_SECONDS = 15;
const QUIET_MS = 3_000;
const START_MS = 20_000;
const FAKE_SYSTEMD = join(ROOT, 'libs', 'fuse', 'src', 'testing', 'fake-systemd.py');
const SHAPES: readonly Shape[] = [
  { owed: 'resend', credentials: 'docker' },
  { owed: 'journal', credentials: 'cri' },
];

describe('an upgrade while containers read', () => {
  for (const shape of SHAPES) {
    it(`by the keeper, which starts the service from the new files, by ${shape.owed}`, { timeout: 300_000 }, async (t) => {
      await using resources = new AsyncDisposableStack();
      const directory = await scratchFolder(resources);
      const image = await makeReadImage(directory, { sizeBytes: 60 << 20, files: 2_000 });
      const tree = await InstalledTree.install(join(directory, 'opt'), VERSIONS[0]);
      await using stack = await startNode(shape, { agent: [tree.agent] });
      const reference = await pullForReading(stack, image, shape);
      await readThrough(t, stack, { image, reference, passSeconds: PASS_SECONDS, maxStallMs: MAX_STALL_MS }, async () => {
        await sleep(QUIET_MS);
        await tree.replace(VERSIONS[1]);
        const [keeper] = stack.snapshotter.processes().keepers;
        stack.snapshotter.kill('SIGUSR2');
        await untilServed(stack, 2);
        await sleep(QUIET_MS);
        assert.deepEqual(stack.snapshotter.processes().keepers, [keeper], 'the keeper stays');
        stack.snapshotter.kill('SIGKILL'); // of an old version until now
        await waitFor(() => stack.snapshotter.processes().keepers.some((pid) => pid !== keeper), {
          timeoutMs: START_MS,
          what: 'a new keeper',
        });
        await sleep(QUIET_MS);
      });
      assert.deepEqual(await versionsStarted(stack), VERSIONS);
    });
  }

  it('by a restart of its unit, whose store has the mount meanwhile', { timeout: 300_000 }, async (t) => {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    const shape: Shape = { owed: 'resend', credentials: 'docker' };
    const image = await makeReadImage(directory, { sizeBytes: 60 << 20, files: 2_000 });
    const tree = await InstalledTree.install(join(directory, 'opt'), VERSIONS[0]);
    const fifo = join(directory, 'orders');
    await run('mkfifo', [fifo]);
    await using orders = await open(fifo, constants.O_RDWR); // nobody waits for the other end
    const wrapper = [...AS_A_UNIT, 'sh', '-c', `exec python3 "$0" "$@" < ${fifo}`, FAKE_SYSTEMD];
    await using stack = await startNode(shape, { agent: [tree.agent], wrapper });
    const reference = await pullForReading(stack, image, shape);
    await readThrough(t, stack, { image, reference, passSeconds: PASS_SECONDS, maxStallMs: MAX_STALL_MS }, async () => {
      await sleep(QUIET_MS);
      await tree.replace(VERSIONS[1]);
      const [keeper = 0] = stack.snapshotter.processes().keepers;
      await orders.write(`restart ${keeper}\n`);
      await untilServed(stack, 2);
      assert.ok(!stack.snapshotter.processes().keepers.includes(keeper), 'the keeper is a new one too');
      await sleep(QUIET_MS);
    });
    assert.deepEqual(await versionsStarted(stack), VERSIONS);
  });
});

function sleep(ms: number): Promise<unknown> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function untilServed({ snapshotter }: Stack, times: number): Promise<void> {
  const served = async (): Promise<boolean> => (await readFile(snapshotter.logPath, 'utf8')).split('successfully started').length > times;
  await waitFor(served, { timeoutMs: START_MS, what: 'the next service to serve' });
}

async function versionsStarted({ snapshotter }: Stack): Promise<readonly string[]> {
  const lines = (await readFile(snapshotter.logPath, 'utf8')).matchAll(/"version":"([^"]+)".*"msg":"starting /g);
  return [...lines].map(([, version = '']) => version);
}
