import { createHash } from 'node:crypto';
import { Inheritance, type InheritanceSource } from './inheritance.ts';
import { namesTo, pathOf } from './lookup.ts';
import { resolveDirectory } from './resolve.ts';
import { INODE_FLAG, isDirectory, type Tree, xattrsOf } from './tree.ts';
import { withoutMarks } from './without-marks.ts';
import { WorkBudget } from './work-budget.ts';

const KEY_LENGTH = 16;

/** Paths of the directories that have no entry of their own, without a leading slash; made one by one, since a hostile layer can have many long ones. */
export function* impliedDirectories(tree: Tree): Generator<Uint8Array> {
  for (const inode of inodesWith(tree, INODE_FLAG.implied)) yield pathOf(tree, inode);
}

/**
 * The tree as it is above the given layers: a directory without an entry of its own takes mode, owner, time and xattrs from the nearest layer that has a directory there,
 * as containerd gives them to a parent it has to make. A nearer layer in which the path is something else (a file, a whiteout) ends the search, and the directory stays 0755 0:0.
 * An opaque directory does not end it: containerd looks into each layer by itself.
 *
 * Above nothing, whiteouts and opaque marks have no meaning and are taken out, as containerd does for the lowest layer.
 *
 * @param lowers the layers below, nearest first, each already as it is above those under it
 * @throws {TreeError} `TOO_MANY_LINKS` when a hostile layer asks for too much work
 * @returns a new tree that shares what did not change with `tree`; `tree` itself when nothing does
 */
export function inheritImplied(tree: Tree, lowers: readonly Tree[]): Tree {
  if (lowers.length === 0) return withoutMarks(tree);
  const inheritance = new Inheritance(tree);
  const budget = new WorkBudget();
  for (const inode of inodesWith(tree, INODE_FLAG.bornImplied)) {
    const source = sourceOf(namesTo(tree, inode), lowers, budget);
    if (source === undefined) inheritance.takeGroup(inode);
    else inheritance.take(inode, source);
  }
  return inheritance.result();
}

/**
 * A short text for the key of an image made from the tree: what it took from the layers below, or that none is below and marks were taken out.
 * Two trees of the same layer with the same key are the same. Empty when nothing was inherited.
 */
export function impliedKey(tree: Tree): string {
  const inodes = inodesWith(tree, INODE_FLAG.inherited);
  if (inodes.length === 0 && !tree.isLowest) return '';
  const hash = createHash('sha256');
  hash.update(tree.isLowest ? 'lowest\0' : 'inherited\0');
  for (const inode of inodes) {
    hash.update(pathOf(tree, inode));
    hash.update(`\0${tree.mode[inode]} ${tree.uid[inode]} ${tree.gid[inode]} ${tree.mtimeSeconds[inode]} ${tree.mtimeNanos[inode]}\0`);
    for (const { key, value } of xattrsOf(tree, inode)) hash.update(key).update(`\0${value.length}\0`).update(value);
  }
  return hash.digest('hex').slice(0, KEY_LENGTH);
}

function sourceOf(names: readonly Uint8Array[], lowers: readonly Tree[], budget: WorkBudget): InheritanceSource | undefined {
  for (const tree of lowers) {
    const found = resolveDirectory(tree, names, budget);
    if (found.kind === 'missing') continue;
    return found.kind === 'directory' ? { tree, inode: found.inode } : undefined;
  }
  return undefined;
}

function inodesWith(tree: Tree, flag: number): number[] {
  const inodes: number[] = [];
  for (let inode = 0; inode < tree.inodeCount; inode++) {
    if (((tree.flags[inode] ?? 0) & flag) !== 0 && isDirectory(tree, inode)) inodes.push(inode);
  }
  return inodes;
}
