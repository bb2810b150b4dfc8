import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { buildDemoImage } from '../demo/image.ts';
import { pullAndRun } from '../demo/contest.ts';
import { Progress } from '../demo/progress.ts';
import { Containerd, Cri } from '@soci/testing';
import { describeTree, differences } from './describe-tree.ts';
import { impliedDirectories } from './implied-directories.ts';
import { lazyLayers } from './mounts.ts';
import { CONTAINERDS, convert, LOGIN, mountView, ROOT, scratchFolder, Stack, unmountView, type Shape } from './stack.ts';

const SHAPES: readonly Shape[] = ['agent', 'split'];
const MAX_SHARE_FETCHED = 0.3;

describe('a private image starts before it is there', () => {
  for (const { name, ...containerd } of CONTAINERDS) {
    for (const shape of SHAPES) {
      it(`with ${name}, ${shape === 'agent' ? 'in one process' : 'snapshotter and fetcher apart'}`, { timeout: 600_000 }, async () => {
        await using resources = new AsyncDisposableStack();
        const image = await demoImage(resources);
        await using stack = await Stack.start({ shape, ...containerd });
        const reference = await stack.push(image, 'demo/service:latest');
        const line = { served: () => stack.registry.served() };

        const { bytes } = await pullAndRun({ containerd: stack.containerd, cri: stack.cri, snapshotter: 'soci' }, reference, LOGIN, line);

        assert.equal(await lazyLayers(stack.directory), await layerCount(image), 'every layer is mounted from an EROFS image');
        const total = await layerBytes(image);
        assert.ok(bytes <= MAX_SHARE_FETCHED * total, `${bytes} of ${total} bytes fetched before the ready line`);
      });
    }
  }
});

describe('the lazy mount', () => {
  it("shows what containerd's own unpack shows, name by name and byte by byte", { timeout: 900_000 }, async () => {
    await using resources = new AsyncDisposableStack();
    const image = await demoImage(resources);
    await using stack = await Stack.start();
    const reference = await stack.push(image, 'demo/service:latest');
    await stack.pull(reference);
    await using plain = await Containerd.start({ directory: join(stack.directory, 'plain') });
    using cri = new Cri(plain.address);
    await cri.pullImage(reference, LOGIN);

    const lazyView = await stack.view('lazy-view');
    const plainView = join(stack.directory, 'plain-view');
    await mkdir(plainView);
    await mountView(plain, 'overlayfs', plainView);
    const implied = await impliedDirectories(
      (await layers(image)).map(({ digest }) => join(image, 'blobs', 'sha256', digest.slice('sha256:'.length))),
    );
    const expected = await describeTree(plainView, implied);
    const actual = await describeTree(lazyView, implied);
    await stack.unview(lazyView);
    await unmountView(plain, 'overlayfs', plainView);

    assert.ok(expected.length > 10_000, `only ${expected.length} facts`);
    assert.deepEqual(differences(expected, actual).slice(0, 20), []);
  });
});

async function demoImage(resources: AsyncDisposableStack): Promise<string> {
  const layout = await buildDemoImage(join(ROOT, 'tmp', 'demo'), new Progress(process.stderr));
  return await convert(layout, join(await scratchFolder(resources), 'converted'));
}

async function layers(image: string): Promise<readonly { readonly digest: string; readonly size: number }[]> {
  const blob = async <T>(digest: string): Promise<T> =>
    JSON.parse(await readFile(join(image, 'blobs', 'sha256', digest.slice('sha256:'.length)), 'utf8')) as T;
  interface Node {
    readonly manifests?: readonly { readonly digest: string }[];
    readonly layers?: readonly { readonly digest: string; readonly size: number }[];
  }
  let node = JSON.parse(await readFile(join(image, 'index.json'), 'utf8')) as Node;
  while (node.manifests?.[0] !== undefined) node = await blob<Node>(node.manifests[0].digest);
  return node.layers ?? [];
}

async function layerCount(image: string): Promise<number> {
  return (await layers(image)).length;
}

async function layerBytes(image: string): Promise<number> {
  return (await layers(image)).reduce((sum, { size }) => sum + size, 0);
}
