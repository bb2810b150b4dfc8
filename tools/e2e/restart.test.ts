import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { lazyLayers } from './mounts.ts';
import { makeSmallImage } from './small-image.ts';
import { convert, scratchFolder, Stack } from './stack.ts';

const run = promisify(execFile);
const MEBIBYTE = 1 << 20;

async function digest(path: string): Promise<string> {
  return (await run('sha256sum', [path])).stdout.slice(0, 64);
}

describe('a snapshotter that is started again', () => {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGKILL'] as const) {
    it(`after ${signal} mounts its layers from what is on disk, with the registry down, and fetches on once it is back`, {
      timeout: 120_000,
    }, async () => {
      await using resources = new AsyncDisposableStack();
      const directory = await scratchFolder(resources);
      const image = await makeSmallImage(directory, [
        [
          { path: 'data/read-before', sizeBytes: 6 * MEBIBYTE },
          { path: 'data/read-after', sizeBytes: 30 * MEBIBYTE },
        ],
      ]);
      await using stack = await Stack.start({ config: '[background_fetch]\ndisable = true\n' });
      const reference = await stack.push(await convert(image, join(directory, 'converted'), ['--min-layer-size', '0']), 'restart/app:1');
      await stack.pull(reference);
      const before = await stack.view('before');
      const readBefore = await digest(join(before, 'data/read-before'));
      await stack.unview(before);
      const mounted = await lazyLayers(stack.directory);
      assert.equal(mounted, 2);
      await new Promise((resolve) => setTimeout(resolve, 1_500)); // what was read reaches the disk within a second

      if (signal === 'SIGKILL') await stack.snapshotter.killAll();
      else stack.snapshotter.kill(signal);
      await stack.snapshotter.exited(10_000);
      await stack.registry.stop('SIGKILL');
      await stack.snapshotter.startAgain();

      const after = await stack.view('after');
      assert.equal(await lazyLayers(stack.directory), mounted);
      assert.equal(await digest(join(after, 'data/read-before')), readBefore);
      await stack.registry.startAgain();
      assert.equal(await digest(join(after, 'data/read-after')), await digest(join(directory, 'layer-0', 'data/read-after')));
      await stack.unview(after);
    });
  }
});

describe('an image that is removed', () => {
  it('takes its mounts with it', { timeout: 120_000 }, async () => {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    const image = await makeSmallImage(directory, [[{ path: 'data/one', sizeBytes: MEBIBYTE }]]);
    await using stack = await Stack.start();
    const reference = await stack.push(await convert(image, join(directory, 'converted'), ['--min-layer-size', '0']), 'remove/app:1');
    await stack.pull(reference);
    assert.equal(await lazyLayers(stack.directory), 2);
    const names = (await stack.containerd.ctr(['images', 'ls', '-q'])).split('\n').filter((name) => name !== '');
    await stack.containerd.ctr(['images', 'rm', '--sync', ...names]);
    assert.equal(await lazyLayers(stack.directory), 0);
  });
});
