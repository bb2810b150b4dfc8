import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { buildTree, type Tree } from '@soci/tree';
import { Ztoc, ZtocBuilder } from '@soci/ztoc';
import { KeptTrees, type TreeSource } from './kept-trees.ts';
import { temporaryFolder } from './testing/fake-layer.ts';
import { sampleTar } from './testing/sample-tar.ts';

interface Counted extends TreeSource {
  readonly builds: () => number;
}

async function sampleTree(t: TestContext): Promise<() => Tree> {
  await using builder = new ZtocBuilder({ threads: 1 });
  const path = join(await temporaryFolder(t), 'tar');
  await writeFile(path, await sampleTar());
  const options = { algorithm: 'uncompressed', spanSizeBytes: 1 << 20, buildTool: 'test' } as const;
  const { bytes } = await builder.build({ path }, options, t.signal);
  return () => buildTree(Ztoc.parse(bytes).columns());
}

function counted(key: string, build: () => Tree): Counted {
  let builds = 0;
  return { key, build: () => (builds++, build()), builds: () => builds };
}

/** Prepares an image's layers from the lowest up. */
function image(trees: KeptTrees, layers: readonly Counted[]): Tree[] {
  return layers.map((layer, i) => trees.above(layer, layers.slice(0, i).reverse()));
}

describe('KeptTrees', () => {
  it('builds nothing twice while there is room', async (t) => {
    const build = await sampleTree(t);
    const layers = Array.from({ length: 5 }, (_, i) => counted(`layer${i}`, build));
    const trees = new KeptTrees(1e6);
    assert.deepEqual(image(trees, layers), image(trees, layers));
    assert.deepEqual(
      layers.map(({ builds }) => builds()),
      layers.map(() => 1),
    );
  });

  it('builds a layer at most once for each layer above it when an image has more than is kept', async (t) => {
    const build = await sampleTree(t);
    const layers = Array.from({ length: 20 }, (_, i) => counted(`layer${i}`, build));
    image(new KeptTrees(build().inodeCount * 5), layers);
    for (const [i, { builds }] of layers.entries()) assert.ok(builds() <= layers.length - i, `layer ${i} was built ${builds()} times`);
  });
});
