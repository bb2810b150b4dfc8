import { pick, pickDoubles, pickWords } from './pick.ts';
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
  const childParent = pickWords(number, pickWords(tree.childParent, keptChildren));

  return {
    inodeCount: kept.length,
    bytes: tree.bytes,
    mode: pickWords(tree.mode, kept),
    uid: pickWords(tree.uid, kept),
    gid: pickWords(tree.gid, kept),
    sizeBytes: pickDoubles(tree.sizeBytes, kept),
    dataOffsetBytes: pickDoubles(tree.dataOffsetBytes, kept),
    mtimeSeconds: pickDoubles(tree.mtimeSeconds, kept),
    mtimeNanos: pickWords(tree.mtimeNanos, kept),
    nlink: pickWords(tree.nlink, kept),
    rdev: pickWords(tree.rdev, kept),
    flags: Uint8Array.from(kept, (inode) => (tree.flags[inode] ?? 0) & ~INODE_FLAG.opaque),
    xattrSet: pick(tree.xattrSet, kept, new Int32Array(kept.length)),
    linkStart: pickWords(tree.linkStart, kept),
    linkEnd: pickWords(tree.linkEnd, kept),
    firstName: pickWords(childNumber, pickWords(tree.firstName, kept)),
    childStart: childStarts(kept.length, childParent),
    nameStart: pickWords(tree.nameStart, keptChildren),
    nameEnd: pickWords(tree.nameEnd, keptChildren),
    childInode: pickWords(number, pickWords(tree.childInode, keptChildren)),
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
