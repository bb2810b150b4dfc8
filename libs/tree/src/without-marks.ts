import { INODE_FLAG, type Tree } from './tree.ts';

/** The tree without whiteouts and opaque marks; the tree itself when it has none. Inodes are numbered anew, in the same order. */
export function withoutMarks(tree: Tree): Tree {
  const marks = INODE_FLAG.whiteout | INODE_FLAG.opaque;
  if (!tree.flags.some((flags) => (flags & marks) !== 0)) return tree;

  const kept = Uint32Array.from(tree.flags.keys()).filter((inode) => !hasFlag(tree, inode, INODE_FLAG.whiteout));
  const number = new Uint32Array(tree.inodeCount);
  for (const [to, inode] of kept.entries()) number[inode] = to;
  const keptChildren = Uint32Array.from(tree.childInode.keys()).filter(
    (child) => !hasFlag(tree, tree.childInode[child] ?? 0, INODE_FLAG.whiteout),
  );
  const childNumber = new Uint32Array(tree.childInode.length);
  for (const [to, child] of keptChildren.entries()) childNumber[child] = to;
  const childParent = keptChildren.map((child) => number[tree.childParent[child] ?? 0] ?? 0);

  return {
    inodeCount: kept.length,
    bytes: tree.bytes,
    mode: kept.map((inode) => tree.mode[inode] ?? 0),
    uid: kept.map((inode) => tree.uid[inode] ?? 0),
    gid: kept.map((inode) => tree.gid[inode] ?? 0),
    sizeBytes: Float64Array.from(kept, (inode) => tree.sizeBytes[inode] ?? 0),
    dataOffsetBytes: Float64Array.from(kept, (inode) => tree.dataOffsetBytes[inode] ?? 0),
    mtimeSeconds: Float64Array.from(kept, (inode) => tree.mtimeSeconds[inode] ?? 0),
    mtimeNanos: kept.map((inode) => tree.mtimeNanos[inode] ?? 0),
    nlink: kept.map((inode) => tree.nlink[inode] ?? 0),
    rdev: kept.map((inode) => tree.rdev[inode] ?? 0),
    flags: Uint8Array.from(kept, (inode) => (tree.flags[inode] ?? 0) & ~INODE_FLAG.opaque),
    xattrSet: Int32Array.from(kept, (inode) => tree.xattrSet[inode] ?? -1),
    linkStart: kept.map((inode) => tree.linkStart[inode] ?? 0),
    linkEnd: kept.map((inode) => tree.linkEnd[inode] ?? 0),
    firstName: kept.map((inode) => childNumber[tree.firstName[inode] ?? 0] ?? 0),
    childStart: childStarts(kept.length, childParent),
    nameStart: keptChildren.map((child) => tree.nameStart[child] ?? 0),
    nameEnd: keptChildren.map((child) => tree.nameEnd[child] ?? 0),
    childInode: keptChildren.map((child) => number[tree.childInode[child] ?? 0] ?? 0),
    childParent,
    xattrSets: tree.xattrSets,
    isLowest: true,
  };
}

function hasFlag(tree: Tree, inode: number, flag: number): boolean {
  return ((tree.flags[inode] ?? 0) & flag) !== 0;
}

/** Where the children of each inode begin, from the parents of all entries in order. */
function childStarts(inodeCount: number, childParent: Uint32Array): Uint32Array {
  const starts = new Uint32Array(inodeCount + 1);
  for (const parent of childParent) starts[parent + 1] = (starts[parent + 1] ?? 0) + 1;
  for (let i = 1; i <= inodeCount; i++) starts[i] = (starts[i] ?? 0) + (starts[i - 1] ?? 0);
  return starts;
}
