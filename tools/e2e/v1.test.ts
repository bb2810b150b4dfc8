import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { lazyLayers } from './mounts.ts';
import { makeSmallImage } from './small-image.ts';
import { LOGIN, program, scratchFolder, Stack } from './stack.ts';

const run = promisify(execFile);
const MEBIBYTE = 1 << 20;
const V1 = '[pull_modes.soci_v1]\nenable = true\n';

/** `soci create` of an image in containerd's store, and `soci push` of the index with a login from the command line. */
async function createAndPush(stack: Stack, reference: string): Promise<string> {
  const soci = (...args: readonly string[]): Promise<{ readonly stdout: string; readonly stderr: string }> =>
    run(program('soci', 'soci'), [
      '--address',
      stack.containerd.address,
      '--namespace',
      'k8s.io',
      '--root',
      join(stack.directory, 'cli'),
      ...args,
    ]);
  await soci('create', '--min-layer-size', '0', reference);
  const { stdout, stderr } = await soci('push', '--user', `${LOGIN.username}:${LOGIN.password}`, '--plain-http', reference);
  return stdout + stderr;
}

async function removeAllImages(stack: Stack): Promise<void> {
  const names = (await stack.containerd.ctr(['images', 'ls', '-q'])).split('\n').filter((name) => name !== '');
  await stack.containerd.ctr(['images', 'rm', '--sync', ...names]);
}

describe('an index made by create and push', () => {
  for (const { enabled, config } of [
    { enabled: true, config: V1 },
    { enabled: false, config: '' },
  ]) {
    it(enabled ? 'makes the next pull lazy where v1 is switched on' : 'is not looked for by default', { timeout: 120_000 }, async () => {
      await using resources = new AsyncDisposableStack();
      const image = await makeSmallImage(await scratchFolder(resources), [[{ path: 'data/one', sizeBytes: 2 * MEBIBYTE }]]);
      await using stack = await Stack.start({ config });
      const reference = await stack.push(image, 'v1/app:1');
      await stack.containerd.ctr(['images', 'pull', '--plain-http', '--user', `${LOGIN.username}:${LOGIN.password}`, reference]);
      await createAndPush(stack, reference);
      await removeAllImages(stack);

      await stack.pull(reference);

      assert.equal(await lazyLayers(stack.directory), enabled ? 2 : 0, await readFile(stack.snapshotter.logPath, 'utf8'));
      assert.match(await stack.containerd.ctr(['run', '--rm', '--snapshotter', 'soci', reference, 'v1']), /ready/);
    });
  }
});
