import { components, findChild, parentOf } from './lookup.ts';
import { FILE_TYPE, isDirectory, type Tree } from './tree.ts';
import type { WorkBudget } from './work-budget.ts';

const MAX_LINKS = 255;

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
    if (isParent(name)) {
      inode = parentOf(tree, inode);
      continue;
    }
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
    if (target[0] === 0x2f) inode = 0;
    pending.push(...components(target).reverse());
  }
  return { kind: 'directory', inode };
}

function isParent(name: Uint8Array): boolean {
  return name.length === 2 && name[0] === 0x2e && name[1] === 0x2e;
}
