import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { buildTree, lookup, type Tree } from '@soci/tree';
import { type LayerEntry, makeColumns, makeLayer } from '@soci/tree/testing';
import { type ErofsError, writeImage } from './index.ts';
import { tortureEntries } from './testing/torture.ts';

const TIB = 2 ** 40;

/** What the images of these layers are. Whoever changes a digest here has to raise `IMAGE_VERSION`. */
const GOLDEN: readonly { readonly name: string; readonly entries: readonly LayerEntry[]; readonly sha256: string }[] = [
  { name: 'nothing', entries: [], sha256: 'fe6dd8afec4e6c66f6f32bd6817f154cf2dd122667b27a5f38bbda241c2e0efb' },
  {
    name: 'one file',
    entries: [{ name: 'etc/hostname', data: 'host\n', mtimeSeconds: 1_700_000_000 }],
    sha256: 'c5872a4a089697096028b968d6980db7f82ff85cd2acd6440a74fb55f19851c8',
  },
  {
    name: 'whiteouts, an opaque directory, links and xattrs',
    entries: [
      { name: 'a/', type: 'dir', mode: 0o750 },
      { name: 'a/.wh.b' },
      { name: 'c/.wh..wh..opq' },
      { name: 'c/d', data: 'd', xattrs: { 'user.x': 'y', 'security.selinux': 'label' } },
      { name: 'c/e', type: 'link', link: 'c/d' },
      { name: 'f', type: 'symlink', link: 'c/d' },
      { name: 'g', type: 'char', device: [1, 3], mode: 0o666 },
    ],
    sha256: 'cf07d9bd6d4d747bdcd6a0ab4844682e4c233c3e0f18f630a43ced34712a6c19',
  },
  { name: 'the torture layer', entries: tortureEntries(), sha256: '96dd0292c1cd59e470b605ae82b825b1358f7868ab64ea1691b1f77eef644c7f' },
];

describe('writeImage', () => {
  for (const { name, entries, sha256 } of GOLDEN) {
    it(`writes the same bytes for the same layer: ${name}`, () => {
      const { tar, columns } = makeLayer(entries);
      const image = writeImage(buildTree(columns), { deviceSizeBytes: tar.length });
      assert.equal(image.length % 512, 0);
      assert.equal(createHash('sha256').update(image).digest('hex'), sha256);
    });
  }

  it('does not depend on the order of entries', () => {
    const entries: LayerEntry[] = [
      { name: 'b/', type: 'dir' },
      { name: 'b/y' },
      { name: 'b/x' },
      { name: 'a/', type: 'dir' },
      { name: 'c', type: 'symlink', link: 'b' },
    ];
    const image = (list: readonly LayerEntry[]) => writeImage(buildTree(makeColumns(list)), { deviceSizeBytes: 0 });
    assert.deepEqual(image(entries), image(entries.toSorted((a, b) => (String(a.name) < String(b.name) ? -1 : 1))));
  });

  it('gives every layer a volume of its own', () => {
    const uuid = (name: string) =>
      Buffer.from(writeImage(buildTree(makeColumns([{ name }])), { deviceSizeBytes: 0 }).subarray(1072, 1088)).toString('hex');
    assert.notEqual(uuid('a'), uuid('b'));
    assert.match(uuid('a'), /[1-9a-f]/);
  });

  it('rounds the length of the tar up to blocks', () => {
    const { columns } = makeLayer([{ name: 'a', data: 'a' }]);
    const blocks = (deviceSizeBytes: number) =>
      new DataView(writeImage(buildTree(columns), { deviceSizeBytes }).buffer).getUint32(1216, true);
    assert.deepEqual([blocks(1024), blocks(1025), blocks(2 * TIB - 512)], [2, 3, 0xffff_ffff]);
  });

  const refused: readonly { name: string; code: ErofsError['code']; tree: () => Tree; deviceSizeBytes?: number }[] = [
    { name: 'a tar over 2 TiB', code: 'TOO_LARGE', tree: () => file(0, 1), deviceSizeBytes: 2 * TIB },
    { name: 'a tar of no length', code: 'BAD_OFFSET', tree: () => file(0, 1), deviceSizeBytes: Number.NaN },
    { name: 'a file over 1 TiB', code: 'TOO_LARGE', tree: () => file(512, TIB + 1), deviceSizeBytes: 2 * TIB - 512 },
    { name: 'a file that ends behind the tar', code: 'BAD_OFFSET', tree: () => file(512, 1025), deviceSizeBytes: 1536 },
    { name: 'a file that begins inside a block', code: 'BAD_OFFSET', tree: () => file(513, 1), deviceSizeBytes: 1536 },
    { name: 'a file before the tar', code: 'BAD_OFFSET', tree: () => file(-512, 1), deviceSizeBytes: 1536 },
    { name: 'a file nowhere', code: 'BAD_OFFSET', tree: () => file(Number.NaN, 1), deviceSizeBytes: 1536 },
    { name: 'an xattr of 64 KiB', code: 'TOO_LARGE', tree: () => withXattrs({ 'user.a': Buffer.alloc(65_536) }) },
    {
      name: 'xattrs of more than 256 KiB',
      code: 'TOO_LARGE',
      tree: () => withXattrs(Object.fromEntries([1, 2, 3, 4, 5].map((i) => [`user.${i}`, Buffer.alloc(65_000)]))),
    },
    {
      name: 'an xattr of another namespace',
      code: 'BAD_XATTR',
      tree: () => ({ ...withXattrs({ 'user.a': 'b' }), xattrSets: [[{ key: Buffer.from('other.a'), value: Buffer.from('b') }]] }),
    },
  ];
  for (const { name, code, tree, deviceSizeBytes = 4096 } of refused) {
    it(`refuses ${name}`, () => {
      assert.throws(() => writeImage(tree(), { deviceSizeBytes }), { name: 'ErofsError', code });
    });
  }
});

function file(offset: number, size: number): Tree {
  const tree = buildTree(makeColumns([{ name: 'file', data: 'x' }]));
  const inode = lookup(tree, 'file')!;
  tree.dataOffsetBytes[inode] = offset;
  tree.sizeBytes[inode] = size;
  return tree;
}

function withXattrs(xattrs: Readonly<Record<string, string | Uint8Array>>): Tree {
  return buildTree(makeColumns([{ name: 'file', xattrs }]));
}
