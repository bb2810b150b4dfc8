import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { buildTree, INODE_FLAG, inheritImplied, lookup, type Tree, TreeError } from './index.ts';
import { type LayerEntry, makeLayer } from './testing/layer.ts';
import { type Listed, listTree } from './testing/list-tree.ts';

interface Case {
  readonly name: string;
  readonly layers: readonly (readonly LayerEntry[])[];
  readonly unpacked: readonly (readonly Listed[] | 'refused')[];
}

const cases = JSON.parse(readFileSync(join(import.meta.dirname, '../testdata/containerd-unpack.json'), 'utf8')) as readonly Case[];
const CASES = 55;

describe('layers as containerd unpacks them', () => {
  it('are all there', () => assert.equal(cases.length, CASES));

  for (const { name, layers, unpacked } of cases) {
    it(name, () => {
      const lowers: Tree[] = [];
      for (const [i, want] of unpacked.entries()) {
        const build = () => inheritImplied(buildTree(makeLayer(layers[i] ?? []).columns), lowers);
        if (want === 'refused') {
          assert.throws(build, TreeError);
          continue;
        }
        const tree = build();
        assert.deepEqual(timed(tree, listTree(tree)), timed(tree, want));
        lowers.unshift(tree);
      }
    });
  }
});

/** Leaves out the times that are those of unpacking: of the root, of directories without an entry, of whiteouts. */
function timed(tree: Tree, listed: readonly Listed[]): Listed[] {
  return listed.map((item) => {
    const inode = lookup(tree, Buffer.from(item.path, 'latin1')) ?? 0;
    const isUntimed = inode === 0 || ((tree.flags[inode] ?? 0) & (INODE_FLAG.implied | INODE_FLAG.whiteout)) !== 0;
    return isUntimed ? { ...item, time: '' } : item;
  });
}
