import { isDirectory, type Tree } from './tree.ts';

const SLASH = 0x2f;

/**
 * The inode a path leads to. Symbolic links are not followed; `/`, `.` and an empty path are the root.
 *
 * @param path from the root of the layer, with or without a leading slash; a string stands for its UTF-8 bytes
 */
export function lookup(tree: Tree, path: Uint8Array | string): number | undefined {
  let inode: number | undefined = 0;
  for (const name of components(path)) {
    inode = findChild(tree, inode, name);
    if (inode === undefined) return undefined;
  }
  return inode;
}

/** The inode of a name in a directory; undefined also when `directory` is none. */
export function findChild(tree: Tree, directory: number, name: Uint8Array): number | undefined {
  let low = tree.childStart[directory] ?? 0;
  let high = tree.childStart[directory + 1] ?? 0;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const order = Buffer.compare(nameOf(tree, middle), name);
    if (order === 0) return tree.childInode[middle];
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return undefined;
}

/** The name of a directory entry, as a subarray of `tree.bytes`. */
export function nameOf(tree: Tree, child: number): Uint8Array {
  return tree.bytes.subarray(tree.nameStart[child], tree.nameEnd[child]);
}

/** The components of the first path of an inode, from the root down; none for the root. */
export function namesTo(tree: Tree, inode: number): Uint8Array[] {
  const names: Uint8Array[] = [];
  for (let at = inode; at !== 0; ) {
    const child = tree.firstName[at] ?? 0;
    names.push(nameOf(tree, child));
    at = tree.childParent[child] ?? 0;
  }
  return names.reverse();
}

/** The first path of an inode, without a leading slash; empty for the root. */
export function pathOf(tree: Tree, inode: number): Uint8Array {
  return Buffer.concat(namesTo(tree, inode).flatMap((name, i) => (i === 0 ? [name] : [Buffer.from('/'), name])));
}

/** The directory a directory stands in; the root stands in itself. */
export function parentOf(tree: Tree, directory: number): number {
  return directory === 0 || !isDirectory(tree, directory) ? 0 : (tree.childParent[tree.firstName[directory] ?? 0] ?? 0);
}

/** Components of a path as it stands; empty ones and `.` fall away. */
export function components(path: Uint8Array | string): Uint8Array[] {
  const bytes = typeof path === 'string' ? Buffer.from(path) : path;
  const names: Uint8Array[] = [];
  for (let start = 0; start < bytes.length; ) {
    const slash = bytes.indexOf(SLASH, start);
    const end = slash === -1 ? bytes.length : slash;
    const isDot = end - start === 1 && bytes[start] === 0x2e;
    if (end > start && !isDot) names.push(bytes.subarray(start, end));
    start = end + 1;
  }
  return names;
}
