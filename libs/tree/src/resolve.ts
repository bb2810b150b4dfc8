import { components, findChild, parentOf } from './lookup.ts';
import { FILE_TYPE, isDirectory, type Tree } from './tree.ts';
import type { WorkBudget } from './work-budget.ts';

const MAX_LINKS = 255;
const SLASH = 0x2f;
const DOT = 0x2e;

/** What a path of a layer is: a directory, something else (also on the way there), or not in the layer. */
export type Resolved = { readonly kind: 'directory'; readonly inode: number } | { readonly kind: 'other' } | { readonly kind: 'missing' };

/**
 * Follows a path through a layer with its symbolic links, the last one too, as in a chroot.
 *
 * @throws {TreeError} `TOO_MANY_LINKS` when the budget is used up
 */
export function resolveDirectory(tree: Tree, names: readonly Uint8Array[], budget: WorkBudget): Resolved {
  budget.spend(names.length);
  const pending = names.toReversed();
  let inode = 0;
  let links = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    const child = findChild(tree, inode, name);
    if (child === undefined) return { kind: 'missing' };
    if (isDirectory(tree, child)) {
      inode = child;
      continue;
    }
    const isLink = ((tree.mode[child] ?? 0) & FILE_TYPE.mask) === FILE_TYPE.symlink;
    if (!isLink || ++links > MAX_LINKS) return { kind: 'other' };
    const target = tree.bytes.subarray(tree.linkStart[child], tree.linkEnd[child]);
    budget.spend(target.length);
    const { names: below, ups } = cleaned(components(target));
    for (let up = 0; up < ups; up++) inode = parentOf(tree, inode);
    if (target[0] === SLASH) inode = 0;
    pending.push(...below.reverse());
  }
  return { kind: 'directory', inode };
}

/** Takes `..` out of a path by its text alone, as containerd does with the target of a link: what is left, and how far up it starts. */
function cleaned(names: readonly Uint8Array[]): { readonly names: Uint8Array[]; readonly ups: number } {
  const left: Uint8Array[] = [];
  let ups = 0;
  for (const name of names) {
    const isParent = name.length === 2 && name[0] === DOT && name[1] === DOT;
    if (!isParent) left.push(name);
    else if (left.pop() === undefined) ups++;
  }
  return { names: left, ups };
}
