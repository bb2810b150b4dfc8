import { FILE_TYPE, INODE_FLAG, isDirectory, nameOf, type Tree, xattrsOf } from '../index.ts';

/** A name of a tree in words. Texts are Latin-1. */
export interface Listed {
  readonly path: string;
  readonly mode: string;
  readonly owner: string;
  readonly time: string;
  readonly links: number;
  readonly size?: number;
  readonly device?: number;
  readonly link?: string;
  /** The first name of the same inode. */
  readonly sameAs?: string;
  readonly xattrs?: Readonly<Record<string, string>>;
}

/** All names of a tree, sorted by path; the opaque mark is among the xattrs. */
export function listTree(tree: Tree): Listed[] {
  const listed: Listed[] = [];
  const first = new Map<number, string>();
  const visit = (inode: number, path: string) => {
    const sameAs = first.get(inode);
    if (sameAs === undefined) first.set(inode, path);
    listed.push({ ...describe(tree, inode, path), ...(sameAs === undefined ? {} : { sameAs }) });
    if (!isDirectory(tree, inode)) return;
    for (let child = tree.childStart[inode] ?? 0; child < (tree.childStart[inode + 1] ?? 0); child++) {
      visit(tree.childInode[child] ?? 0, (path === '' ? '' : `${path}/`) + text(nameOf(tree, child)));
    }
  };
  visit(0, '');
  return listed.sort((a, b) => (a.path < b.path ? -1 : 1));
}

function describe(tree: Tree, inode: number, path: string): Listed {
  const mode = tree.mode[inode] ?? 0;
  const size = tree.sizeBytes[inode] ?? 0;
  const device = tree.rdev[inode] ?? 0;
  const isOpaque = ((tree.flags[inode] ?? 0) & INODE_FLAG.opaque) !== 0;
  const xattrs = xattrsOf(tree, inode).map(({ key, value }): [string, string] => [text(key), text(value)]);
  if (isOpaque) xattrs.push(['trusted.overlay.opaque', 'y']);
  return {
    path,
    mode: `0${mode.toString(8)}`,
    owner: `${tree.uid[inode]}:${tree.gid[inode]}`,
    time: `${tree.mtimeSeconds[inode]}.${String(tree.mtimeNanos[inode]).padStart(9, '0')}`,
    links: tree.nlink[inode] ?? 0,
    ...(size === 0 ? {} : { size }),
    ...(device === 0 ? {} : { device }),
    ...((mode & FILE_TYPE.mask) === FILE_TYPE.symlink
      ? { link: text(tree.bytes.subarray(tree.linkStart[inode], tree.linkEnd[inode])) }
      : {}),
    ...(xattrs.length === 0 ? {} : { xattrs: Object.fromEntries(xattrs) }),
  };
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}
