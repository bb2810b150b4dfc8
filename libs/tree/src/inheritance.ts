import { parentOf } from './lookup.ts';
import { INODE_FLAG, SET_GROUP_ID, type Tree, xattrsOf } from './tree.ts';
import { XattrSets } from './xattr-sets.ts';

/** A directory of another layer. */
export interface InheritanceSource {
  readonly tree: Tree;
  readonly inode: number;
}

/** A copy of a tree whose implied directories are given attributes, parents before what is in them. */
export class Inheritance {
  readonly #tree: Tree;
  readonly #copy: Pick<Tree, 'mode' | 'uid' | 'gid' | 'mtimeSeconds' | 'mtimeNanos' | 'flags' | 'xattrSet'>;
  readonly #xattrSets: XattrSets;
  #isChanged = false;

  constructor(tree: Tree) {
    this.#tree = tree;
    this.#copy = {
      mode: tree.mode.slice(),
      uid: tree.uid.slice(),
      gid: tree.gid.slice(),
      mtimeSeconds: tree.mtimeSeconds.slice(),
      mtimeNanos: tree.mtimeNanos.slice(),
      flags: tree.flags.slice(),
      xattrSet: tree.xattrSet.slice(),
    };
    this.#xattrSets = new XattrSets(tree.xattrSets);
  }

  take(inode: number, { tree: lower, inode: from }: InheritanceSource): void {
    const copy = this.#copy;
    // Copied, so that the lower layer's buffer can go.
    const below = xattrsOf(lower, from).map(({ key, value }) => ({ key: key.slice(), value: value.slice() }));
    copy.xattrSet[inode] = this.#xattrSets.merge(this.#xattrSets.merge(-1, below), xattrsOf(this.#tree, inode));
    this.#mark(inode);
    // An own entry that came after its children has set the rest.
    if (!this.#isImplied(inode)) return;
    copy.mode[inode] = lower.mode[from] ?? 0;
    copy.uid[inode] = lower.uid[from] ?? 0;
    copy.gid[inode] = lower.gid[from] ?? 0;
    copy.mtimeSeconds[inode] = lower.mtimeSeconds[from] ?? 0;
    copy.mtimeNanos[inode] = lower.mtimeNanos[from] ?? 0;
  }

  /** In no layer below: only the group of a set-group-ID parent that has just inherited comes down. */
  takeGroup(inode: number): void {
    const copy = this.#copy;
    const parent = parentOf(this.#tree, inode);
    const isHandedOn = this.#isImplied(parent) && ((copy.mode[parent] ?? 0) & SET_GROUP_ID) !== 0;
    if (!this.#isImplied(inode) || !isHandedOn) return;
    copy.gid[inode] = copy.gid[parent] ?? 0;
    this.#mark(inode);
  }

  result(): Tree {
    return this.#isChanged ? { ...this.#tree, ...this.#copy, xattrSets: this.#xattrSets.sets } : this.#tree;
  }

  #mark(inode: number): void {
    this.#isChanged = true;
    this.#copy.flags[inode] = (this.#copy.flags[inode] ?? 0) | INODE_FLAG.inherited;
  }

  #isImplied(inode: number): boolean {
    return ((this.#tree.flags[inode] ?? 0) & INODE_FLAG.implied) !== 0;
  }
}
