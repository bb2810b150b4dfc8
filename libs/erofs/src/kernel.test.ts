import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { buildTree, inheritImplied, lookup, type Tree } from '@soci/tree';
import { type LayerEntry, makeColumns, makeLayer } from '@soci/tree/testing';
import { ask, erofsMount, type Found, makeFolder, overlayMount, whyNotMountable } from './testing/kernel.ts';
import { pattern, tortureEntries } from './testing/torture.ts';
import { writeImage } from './write-image.ts';

const skip = whyNotMountable();
const GIB = 2 ** 30;
const MIDDLE = 4 * GIB + 123_456;

describe('an image in the kernel', { skip }, () => {
  it('shows what GNU tar extracts', (t) => {
    const folder = makeFolder(t);
    const { tar, columns } = makeLayer(tortureEntries());
    const image = writeImage(buildTree(columns), { deviceSizeBytes: tar.length });
    const mount = erofsMount(folder, 'image', image, tar);
    const extracted = extract(folder, `${mount.target}.bytes`);
    const { trees } = ask({ mounts: [mount], trees: [mount.target, extracted] });
    const [seen = [], wanted = []] = trees;
    assert.ok(wanted.length > 10_400);
    assert.deepEqual(different(seen, wanted), []);
  });

  it('reads a file behind a file of 5 GiB', (t) => {
    const folder = makeFolder(t);
    const behind = 5 * GIB + 1024;
    const device = sparse(join(folder, 'tar'), behind + 512, [
      [512 + MIDDLE, 'middle'],
      [512 + 5 * GIB - 4, 'last'],
      [behind, 'behind'],
    ]);
    const tree = resized(['large', 512, 5 * GIB], ['behind', behind, 6]);
    const mount = erofsMount(folder, 'image', writeImage(tree, { deviceSizeBytes: behind + 512 }), device);
    const piece = (name: string, position: number, length: number) => ({ path: join(mount.target, name), position, length });
    const { pieces } = ask({ mounts: [mount], pieces: [piece('large', MIDDLE, 6), piece('large', 5 * GIB - 4, 9), piece('behind', 0, 9)] });
    assert.deepEqual(pieces, [hex('middle'), hex('last'), hex('behind')]);
  });

  it('reads at the limits: a file of 1 TiB, a tar of 2 TiB', (t) => {
    const folder = makeFolder(t);
    const end = 2048 * GIB - 512;
    const start = 512 * GIB;
    const device = sparse(join(folder, 'tar'), end, [
      [start + 1024 * GIB - 4, 'last'],
      [end - 512, 'behind'],
    ]);
    const tree = resized(['large', start, 1024 * GIB], ['behind', end - 512, 6]);
    const mount = erofsMount(folder, 'image', writeImage(tree, { deviceSizeBytes: end }), device);
    const piece = (name: string, position: number) => ({ path: join(mount.target, name), position, length: 6 });
    const { pieces } = ask({ mounts: [mount], pieces: [piece('large', 1024 * GIB - 4), piece('behind', 0)] });
    assert.deepEqual(pieces, [hex('last'), hex('behind')]);
  });

  it('holds xattrs far larger than a block, and times before 1970', (t) => {
    const folder = makeFolder(t);
    const value = pattern(60_000);
    const xattrs = { 'user.a': value, 'user.b': pattern(65_535), 'user.c': 'c', 'security.d': value };
    const { tar, columns } = makeLayer([
      { name: 'large', data: 'x', xattrs },
      { name: 'dir', type: 'dir', xattrs },
      { name: 'dir/link', type: 'symlink', link: 't'.repeat(300), xattrs: { 'security.e': pattern(400) } },
      { name: 'dir/below', data: 'y' },
    ]);
    const tree = buildTree(columns);
    tree.mtimeSeconds.fill(-5);
    tree.mtimeNanos.fill(7);
    const mount = erofsMount(folder, 'image', writeImage(tree, { deviceSizeBytes: tar.length }), tar);
    const found = listing(ask({ mounts: [mount], trees: [mount.target] }).trees[0]);
    for (const name of ['/large', '/dir']) {
      const want = Object.fromEntries(Object.entries(xattrs).map(([key, text]) => [key, Buffer.from(text as Buffer).toString('hex')]));
      assert.deepEqual(sorted(found.get(name)?.xattrs), sorted(want));
      assert.equal(found.get(name)?.mtime, '-4999999993');
    }
    assert.equal(found.get('/dir/link')?.link, 't'.repeat(300));
    assert.equal(found.get('/dir/below')?.size, 1);
  });

  it('mounts a layer without names or bytes', (t) => {
    const folder = makeFolder(t);
    const mount = erofsMount(folder, 'image', writeImage(buildTree(makeColumns([])), { deviceSizeBytes: 0 }), Buffer.alloc(0));
    const [found] = ask({ mounts: [mount], trees: [mount.target] }).trees;
    assert.deepEqual(
      found?.map(({ path, mode, links }) => ({ path, mode, links })),
      [{ path: '', mode: 0o40755, links: 2 }],
    );
  });
});

describe('layers under overlayfs', { skip }, () => {
  const below: LayerEntry[] = [
    { name: 'a/', type: 'dir', mode: 0o750, uid: 7, mtimeSeconds: 1000 },
    { name: 'a/gone', data: 'gone' },
    { name: 'a/kept', data: 'kept' },
    { name: 'a/changed', data: 'old' },
    { name: 'opaque/', type: 'dir' },
    { name: 'opaque/hidden', data: 'hidden' },
    { name: 'opaque/deep/', type: 'dir' },
    { name: 'opaque/deep/hidden', data: 'hidden' },
    { name: 'removed/', type: 'dir' },
    { name: 'removed/file', data: 'file' },
    { name: 'implied/', type: 'dir', mode: 0o2771, uid: 5, gid: 6, mtimeSeconds: 2000, xattrs: { 'user.kept': 'yes' } },
    { name: 'implied/old', data: 'old' },
    { name: 'was-file', data: 'file' },
    { name: 'was-dir/', type: 'dir' },
    { name: 'was-dir/in', data: 'in' },
    { name: '.wh.never', data: 'nothing is below' },
    { name: 'a/.wh.nothing' },
  ];
  const above: LayerEntry[] = [
    { name: 'a/.wh.gone' },
    { name: 'a/changed', data: 'new' },
    { name: 'a/added', type: 'symlink', link: 'kept' },
    { name: 'opaque/new', data: 'new' },
    { name: 'opaque/.wh..wh..opq' },
    { name: '.wh.removed' },
    { name: 'implied/new', data: 'new' },
    { name: 'was-file/', type: 'dir', mode: 0o700 },
    { name: 'was-file/in', data: 'in' },
    { name: 'was-dir', type: 'symlink', link: 'a' },
  ];

  it('merge as unpacked layers do, and hide whiteouts, marks and what those take away', (t) => {
    const folder = makeFolder(t);
    const [lower, upper] = mountLayers(folder, [below, above]);
    assert.ok(lower && upper);
    const overlay = overlayMount(folder, 'merged', [upper.target, lower.target]);
    const { trees } = ask({ mounts: [lower, upper, overlay], trees: [overlay.target, lower.target] });
    const merged = listing(trees[0]);
    assert.deepEqual(
      [...merged.keys()],
      [
        '',
        '/a',
        '/a/added',
        '/a/changed',
        '/a/kept',
        '/implied',
        '/implied/new',
        '/implied/old',
        '/opaque',
        '/opaque/new',
        '/was-dir',
        '/was-file',
        '/was-file/in',
      ],
    );
    const a = merged.get('/a');
    assert.deepEqual([a?.mode, a?.uid, a?.mtime], [0o40750, 7, '1000000000000']);
    const implied = merged.get('/implied');
    assert.deepEqual([implied?.mode, implied?.uid, implied?.gid, implied?.mtime], [0o42771, 5, 6, '2000000000000']);
    assert.deepEqual(implied?.xattrs, { 'user.kept': hex('yes') });
    assert.equal(merged.get('/was-dir')?.link, 'a');
    assert.equal(merged.get('/opaque')?.xattrs['trusted.overlay.opaque'], undefined);
    assert.ok(!listing(trees[1]).has('/never'), 'a whiteout in the lowest layer hides nothing and is not there');
  });

  it('are one volume with xino=auto, since each has a UUID', (t) => {
    const folder = makeFolder(t);
    const [lower, upper] = mountLayers(folder, [[{ name: 'a' }], [{ name: 'b' }]]);
    assert.ok(lower && upper);
    for (const name of ['upper', 'work']) mkdirSync(join(folder, name));
    const options = `xino=auto,upperdir=${join(folder, 'upper')},workdir=${join(folder, 'work')},`;
    const overlay = { ...overlayMount(folder, 'merged', [upper.target, lower.target], options), flags: 0 };
    const { volumes } = ask({ mounts: [lower, upper, overlay], trees: [overlay.target] });
    assert.deepEqual(volumes, [1]);
  });

  it('keep whiteouts and opaque marks in a layer that lies above another', (t) => {
    const folder = makeFolder(t);
    const [, upper] = mountLayers(folder, [below, above]);
    assert.ok(upper);
    const found = listing(ask({ mounts: [upper], trees: [upper.target] }).trees[0]);
    assert.deepEqual([found.get('/removed')?.mode, found.get('/removed')?.device], [0o20000, 0]);
    assert.deepEqual(found.get('/opaque')?.xattrs, { 'trusted.overlay.opaque': hex('y') });
    assert.ok(![...found.keys()].some((name) => name.includes('.wh.')));
  });
});

function mountLayers(folder: string, layers: readonly LayerEntry[][]) {
  const lowers: Tree[] = [];
  return layers.map((entries, i) => {
    const { tar, columns } = makeLayer(entries);
    const tree = inheritImplied(buildTree(columns), lowers);
    lowers.unshift(tree);
    return erofsMount(folder, `layer-${i}`, writeImage(tree, { deviceSizeBytes: tar.length }), tar);
  });
}

function extract(folder: string, tar: string): string {
  const target = join(folder, 'extracted');
  mkdirSync(target);
  execFileSync('tar', [
    '--extract',
    '--delay-directory-restore',
    '--warning=no-timestamp',
    '--file',
    tar,
    '--directory',
    target,
    '--same-owner',
    '--preserve-permissions',
    '--xattrs',
    '--xattrs-include=*',
  ]);
  return target;
}

/** A tree of files that lie where they are said to. */
function resized(...files: readonly (readonly [name: string, offset: number, size: number])[]): Tree {
  const tree = buildTree(makeColumns(files.map(([name]) => ({ name, data: 'x' }))));
  for (const [name, offset, size] of files) {
    const inode = lookup(tree, name)!;
    tree.dataOffsetBytes[inode] = offset;
    tree.sizeBytes[inode] = size;
  }
  return tree;
}

function sparse(path: string, size: number, texts: readonly (readonly [position: number, text: string])[]): string {
  writeFileSync(path, '');
  const file = openSync(path, 'r+');
  ftruncateSync(file, size);
  for (const [position, text] of texts) writeSync(file, text, position);
  closeSync(file);
  return path;
}

/** Lines in which two listings differ, the first few of them. */
function different(seen: readonly Found[], wanted: readonly Found[]): string[] {
  const lines = (list: readonly Found[]) => new Set(list.map((found) => JSON.stringify(withoutRootTime(found))));
  const [a, b] = [lines(seen), lines(wanted)];
  return [
    ...[...a].filter((line) => !b.has(line)).map((line) => `seen   ${line}`),
    ...[...b].filter((line) => !a.has(line)).map((line) => `wanted ${line}`),
  ].slice(0, 20);
}

/** GNU tar writes the root's own time last, but other attributes of the folder are its own. */
function withoutRootTime(found: Found): Found {
  return found.path === '' ? { ...found, mtime: '' } : found;
}

function listing(found: readonly Found[] = []): ReadonlyMap<string, Found> {
  return new Map(found.map((item) => [item.path, item]));
}

function sorted(record: Readonly<Record<string, string>> = {}): [string, string][] {
  return Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
}

function hex(text: string): string {
  return Buffer.from(text).toString('hex');
}
