import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  buildTree,
  findChild,
  impliedDirectories,
  impliedKey,
  inheritImplied,
  lookup,
  nameOf,
  pathOf,
  type Tree,
  type TreeErrorCode,
} from './index.ts';
import { type LayerEntry, makeColumns, makeLayer } from './testing/layer.ts';
import { listTree } from './testing/list-tree.ts';

describe('buildTree', () => {
  it('sorts names by their bytes and numbers inodes breadth first', () => {
    const names = ['b/y', 'b/x', 'a', 'é', Buffer.from([0xff]), 'b', '-', '.a', 'ab', 'abcdefgh', 'abcdefg', 'abcdefgA'];
    const tree = treeOf(names.map((name) => (name === 'b' ? { name, type: 'dir' } : { name })));
    const all = [...tree.childInode.keys()].map((child) => Buffer.from(nameOf(tree, child)).toString('latin1'));
    assert.deepEqual(all, ['-', '.a', 'a', 'ab', 'abcdefg', 'abcdefgA', 'abcdefgh', 'b', 'Ã©', 'ÿ', 'x', 'y']);
    assert.deepEqual([...tree.childInode], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it('says where the bytes of a file are', () => {
    const { tar, columns } = makeLayer([{ name: 'a', data: 'first' }, { name: 'a', data: 'second' }, { name: 'e' }]);
    const tree = buildTree(columns);
    const inode = lookup(tree, 'a')!;
    const offset = tree.dataOffsetBytes[inode]!;
    assert.equal(tar.toString('latin1', offset, offset + tree.sizeBytes[inode]!), 'second');
    assert.deepEqual([tree.sizeBytes[lookup(tree, 'e')!], tree.dataOffsetBytes[lookup(tree, 'e')!]], [0, 0]);
  });

  it('takes the time of the root from its entry', () => {
    assert.equal(treeOf([{ name: './', type: 'dir', mtimeSeconds: 12 }]).mtimeSeconds[0], 12);
  });

  it('lets a name of the layer win over a whiteout of it, whichever comes first', () => {
    for (const entries of [
      [{ name: 'a', data: 'a' }, { name: '.wh.a' }],
      [{ name: '.wh.a' }, { name: 'a', data: 'a' }],
    ]) {
      assert.deepEqual(
        listTree(treeOf(entries)).map(({ path, size }) => [path, size]),
        [
          ['', undefined],
          ['a', 1],
        ],
      );
    }
    assert.deepEqual(paths(treeOf([{ name: '.wh.a' }, { name: 'a/b' }])), ['', 'a', 'a/b']);
  });

  it('shows no name that begins like a whiteout', () => {
    const entries: LayerEntry[] = [
      { name: '.wh..wh.plnk', type: 'dir' },
      { name: '.wh..wh.plnk/12.34', data: 'x' },
      { name: '.wh..wh.aufs' },
      { name: 'a/.wh.dir/x' },
      { name: 'a/.wh..wh..opq/x' },
      { name: 'a/b' },
    ];
    assert.deepEqual(paths(treeOf(entries)), ['', 'a', 'a/b']);
  });

  it('ends with the depth a path can have', () => {
    const deep = `${'d/'.repeat(2047)}f`;
    assert.equal(treeOf([{ name: deep }]).inodeCount, 2049);
    assert.throws(
      () =>
        treeOf([{ name: deep }, { name: 's', type: 'symlink', link: 'd/'.repeat(2046) }, { name: `s/${'e/'.repeat(2000)}`, type: 'dir' }]),
      { code: 'NAME_TOO_LONG' },
    );
  });

  const refused: readonly { name: string; code: TreeErrorCode; entries: readonly LayerEntry[] }[] = [
    { name: 'an empty name', code: 'INVALID_NAME', entries: [{ name: '' }] },
    { name: 'a file called /', code: 'INVALID_NAME', entries: [{ name: '/' }] },
    { name: 'a file called ..', code: 'INVALID_NAME', entries: [{ name: 'a/../..' }] },
    { name: 'a name with NUL', code: 'INVALID_NAME', entries: [{ name: 'a\0b' }] },
    { name: 'a directory with NUL', code: 'INVALID_NAME', entries: [{ name: 'a\0/b' }] },
    { name: 'a link target with NUL', code: 'INVALID_NAME', entries: [{ name: 'a', type: 'symlink', link: 'b\0c' }] },
    { name: 'a path of 4096 bytes', code: 'NAME_TOO_LONG', entries: [{ name: 'a/'.repeat(2048) }] },
    { name: 'a parent of 256 bytes', code: 'NAME_TOO_LONG', entries: [{ name: `${'n'.repeat(256)}/a` }] },
    { name: 'a link target of 4096 bytes', code: 'NAME_TOO_LONG', entries: [{ name: 'a', type: 'symlink', link: 'b'.repeat(4096) }] },
    { name: 'an empty link target', code: 'INVALID_ENTRY', entries: [{ name: 'a', type: 'symlink' }] },
    { name: 'a hard link without a target', code: 'UNRESOLVED_LINK', entries: [{ name: 'a', type: 'link' }] },
    { name: 'a hard link to a whiteout', code: 'UNRESOLVED_LINK', entries: [{ name: '.wh.a' }, { name: 'b', type: 'link', link: 'a' }] },
    { name: 'an xattr key of 256 bytes', code: 'INVALID_ENTRY', entries: [{ name: 'a', xattrs: { [`user.${'k'.repeat(251)}`]: 'v' } }] },
    { name: 'an xattr without a name', code: 'INVALID_ENTRY', entries: [{ name: 'a', xattrs: { 'user.': 'v' } }] },
    { name: 'an xattr over 64 KiB', code: 'INVALID_ENTRY', entries: [{ name: 'a', xattrs: { 'user.a': Buffer.alloc(65_537) } }] },
  ];
  for (const { name, code, entries } of refused) {
    it(`refuses ${name}`, () => {
      assert.throws(() => treeOf(entries), { name: 'TreeError', code });
    });
  }

  it('refuses a size or a type that no file has', () => {
    const columns = makeColumns([{ name: 'a', data: 'a' }]);
    assert.throws(() => buildTree({ ...columns, sizeBytes: Float64Array.of(-1) }), { code: 'INVALID_ENTRY' });
    assert.throws(() => buildTree({ ...columns, sizeBytes: Float64Array.of(2 ** 60) }), { code: 'INVALID_ENTRY' });
    assert.throws(() => buildTree({ ...columns, type: Uint8Array.of(9) }), { code: 'INVALID_ENTRY' });
  });

  it('bounds the work that links can ask for', () => {
    const entries: LayerEntry[] = [{ name: 'd', type: 'dir' }];
    for (let i = 0; i < 200; i++)
      entries.push({ name: `l${i}`, type: 'symlink', link: i === 0 ? `${'./'.repeat(500)}d` : `${'x/../'.repeat(700)}l${i - 1}` });
    for (let i = 0; i < 40_000; i++) entries.push({ name: `l${199 - (i % 2)}/f${i}` });
    assert.throws(() => treeOf(entries), { code: 'TOO_MANY_LINKS' });
  });

  it('bounds the work and memory that xattrs on xattrs can ask for', () => {
    const xattrs = (i: number) => ({ [`security.${i}`]: 'v'.repeat(100) });
    const times = (count: number): LayerEntry[] =>
      Array.from({ length: count }, (_, i) => ({ name: 'd/', type: 'dir', xattrs: xattrs(i) }));
    assert.throws(() => treeOf(times(4000)), { code: 'INVALID_ENTRY' });
    const links = Array.from({ length: 4000 }, (_, i): LayerEntry => ({ name: `l${i}`, type: 'link', link: 'f', xattrs: xattrs(i) }));
    assert.throws(() => treeOf([{ name: 'f' }, ...links]), { code: 'INVALID_ENTRY' });
    assert.equal(treeOf(times(100)).xattrSets.at(-1)?.length, 100);
  });

  it('grows with what implied directories add', () => {
    const tree = treeOf(
      Array.from({ length: 40 }, (_, i) => ({ name: `${Array.from({ length: 60 }, (_, j) => `d${i}-${j}`).join('/')}/f` })),
    );
    assert.equal(tree.inodeCount, 1 + 40 * 61);
    assert.equal([...impliedDirectories(tree)].length, 40 * 60);
  });
});

describe('lookup', () => {
  const tree = treeOf([
    { name: 'a/b/c', data: 'x' },
    { name: 'a/l', type: 'symlink', link: 'b' },
  ]);

  it('finds names, with and without slashes around', () => {
    for (const path of ['a/b/c', '/a/b/c', './a//b/./c', Buffer.from('a/b/c')]) {
      assert.equal(Buffer.from(pathOf(tree, lookup(tree, path)!)).toString(), 'a/b/c');
    }
    for (const path of ['', '/', '.']) assert.equal(lookup(tree, path), 0);
  });

  it('does not find what is not there, below a file, or behind a link', () => {
    for (const path of ['b', 'a/b/c/d', 'a/l/c', 'a/b/', 'a/B', '..'].filter((path) => path !== 'a/b/'))
      assert.equal(lookup(tree, path), undefined);
    assert.equal(findChild(tree, lookup(tree, 'a/b/c')!, Buffer.from('x')), undefined);
  });
});

describe('implied directories', () => {
  it('are named', () => {
    const tree = treeOf([{ name: 'a', type: 'dir' }, { name: 'a/b/c/d' }, { name: 'e/f' }, { name: 'e', type: 'dir' }]);
    assert.deepEqual(
      [...impliedDirectories(tree)].map((path) => Buffer.from(path).toString()),
      ['a/b', 'a/b/c'],
    );
  });

  it('take the time of the directory below', () => {
    const below = treeOf([{ name: 'a', type: 'dir', mtimeSeconds: 5, mtimeNanos: 6 }]);
    const tree = inheritImplied(treeOf([{ name: 'a/b' }]), [below]);
    const inode = lookup(tree, 'a')!;
    assert.deepEqual([tree.mtimeSeconds[inode], tree.mtimeNanos[inode]], [5, 6]);
  });

  it('are not looked for without end', () => {
    const entries = Array.from({ length: 40 }, (_, i) => ({ name: `${i}/${'d/'.repeat(2000)}f` }));
    const lowers = Array.from({ length: 30 }, () => treeOf([{ name: 'x' }]));
    assert.throws(() => inheritImplied(treeOf(entries), lowers), { code: 'TOO_MANY_LINKS' });
  });

  it('leave the tree as it is when there is nothing to inherit', () => {
    const tree = treeOf([{ name: 'a', type: 'dir' }, { name: 'a/b' }, { name: 'c/d' }]);
    assert.equal(inheritImplied(tree, [treeOf([{ name: 'a', type: 'dir', mode: 0o700 }])]), tree);
    assert.equal(inheritImplied(tree, []), tree);
    assert.equal(impliedKey(tree), '');
  });

  it('give a key that stands for what they inherited', () => {
    const tree = treeOf([{ name: 'a/b' }, { name: 'c/d' }]);
    const key = (...entries: LayerEntry[]) => impliedKey(inheritImplied(tree, [treeOf(entries)]));
    const plain = key({ name: 'a', type: 'dir', mode: 0o700 });
    assert.match(plain, /^[0-9a-f]{16}$/);
    assert.equal(key({ name: 'x' }, { name: 'a', type: 'dir', mode: 0o700 }), plain);
    const others = [
      key({ name: 'a', type: 'dir', mode: 0o701 }),
      key({ name: 'a', type: 'dir', mode: 0o700, uid: 1 }),
      key({ name: 'a', type: 'dir', mode: 0o700, mtimeSeconds: 1 }),
      key({ name: 'a', type: 'dir', mode: 0o700, xattrs: { 'user.a': '' } }),
      key({ name: 'c', type: 'dir', mode: 0o700 }),
      key({ name: 'a', type: 'dir', mode: 0o700 }, { name: 'c', type: 'dir', mode: 0o700 }),
    ];
    assert.equal(new Set([plain, ...others]).size, 7);
  });
});

describe('the lowest layer', () => {
  const entries: LayerEntry[] = [
    { name: 'a/', type: 'dir' },
    { name: 'a/.wh.b' },
    { name: 'a/.wh..wh..opq' },
    { name: 'a/c', data: 'c' },
    { name: 'd', type: 'link', link: 'a/c' },
    { name: '.wh.e' },
    { name: 'f', type: 'char', device: [0, 0] },
    { name: 'g/h/i' },
  ];

  it('has no whiteouts and opaque marks', () => {
    const tree = treeOf(entries);
    const lowest = inheritImplied(tree, []);
    assert.deepEqual(paths(lowest), ['', 'a', 'a/c', 'd', 'f', 'g', 'g/h', 'g/h/i']);
    assert.deepEqual(listTree(lowest), listTree(treeOf(entries.filter(({ name }) => !String(name).includes('.wh.')))));
    assert.equal(Buffer.from(pathOf(lowest, lookup(lowest, 'g/h/i')!)).toString(), 'g/h/i');
  });

  it('has a key of its own when that changed it', () => {
    assert.notEqual(impliedKey(inheritImplied(treeOf(entries), [])), '');
    assert.equal(impliedKey(treeOf(entries)), '');
    assert.equal(impliedKey(inheritImplied(treeOf([{ name: 'a' }]), [])), '');
  });
});

function treeOf(entries: readonly LayerEntry[]): Tree {
  return buildTree(makeColumns(entries));
}

function paths(tree: Tree): string[] {
  return listTree(tree).map(({ path }) => path);
}
