/** The type bits of a mode, as in `<sys/stat.h>`. */
export const FILE_TYPE = {
  mask: 0o170000,
  fifo: 0o010000,
  character: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  regular: 0o100000,
  symlink: 0o120000,
} as const;

/** The permission bit that hands the group of a directory on to what is made in it. */
export const SET_GROUP_ID = 0o2000;

/** What is to be known of an inode besides its attributes: bits of `Tree.flags`. */
export const INODE_FLAG = {
  /** A directory that has no entry of its own: only names below it say that it is there. */
  implied: 1,
  /** A directory that hides what lower layers have in it (`.wh..wh..opq`): `trusted.overlay.opaque=y`. */
  opaque: 2,
  /** Made from a `.wh.` name: the 0/0 character device with which overlayfs hides a name of the layers below. */
  whiteout: 4,
  /** A directory whose attributes or xattrs were filled in from the layers below. */
  inherited: 8,
  /** A directory that names below it made before its own entry came: it keeps the xattrs it would have inherited. */
  bornImplied: 16,
} as const;

/** An extended attribute with its full name, e.g. `security.capability`. */
export interface Xattr {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/**
 * The names of one layer after the OCI layer rules, as columns: one index an inode, one index a directory entry, nothing allocated per file.
 *
 * Inode 0 is the root; inodes are numbered breadth first in the order of sorted names, so the inodes of a directory's children lie together.
 * A hard-linked file is one inode with several directory entries. Texts are ranges of `bytes` and need not be UTF-8.
 */
export interface Tree {
  readonly inodeCount: number;
  /** What names and link targets are ranges of; shared with the table of contents the tree was made from. */
  readonly bytes: Uint8Array;

  /** Type bits (`FILE_TYPE`) and permissions with setuid, setgid and sticky. A symbolic link is always 0777. */
  readonly mode: Uint32Array;
  readonly uid: Uint32Array;
  readonly gid: Uint32Array;
  /** Bytes of a regular file; length of the target of a symbolic link; else 0. */
  readonly sizeBytes: Float64Array;
  /** Where a regular file's bytes begin in the uncompressed tar; else 0. */
  readonly dataOffsetBytes: Float64Array;
  /** Seconds since 1970, from 0 to 9,223,372,036: what containerd can set. */
  readonly mtimeSeconds: Float64Array;
  readonly mtimeNanos: Uint32Array;
  /** Names of a file; 2 + subdirectories of a directory. */
  readonly nlink: Uint32Array;
  /** Device number of a device node in the kernel's 32-bit encoding (`encodeDevice`); else 0. */
  readonly rdev: Uint32Array;
  /** Bits of `INODE_FLAG`. */
  readonly flags: Uint8Array;
  /** Index in `xattrSets`, or -1. */
  readonly xattrSet: Int32Array;
  /** Target of a symbolic link, else empty. */
  readonly linkStart: Uint32Array;
  readonly linkEnd: Uint32Array;
  /** The first directory entry that names the inode; of no meaning for the root. */
  readonly firstName: Uint32Array;

  /** Children of directory `i` are the directory entries from `childStart[i]` to `childStart[i + 1]`, exclusive; one longer than the inodes. */
  readonly childStart: Uint32Array;
  /** Name of a directory entry: a range of `bytes`; in byte order within a directory. */
  readonly nameStart: Uint32Array;
  readonly nameEnd: Uint32Array;
  readonly childInode: Uint32Array;
  /** The directory an entry stands in. */
  readonly childParent: Uint32Array;

  /** Distinct sets of xattrs, each sorted by key; the opaque mark is not among them. */
  readonly xattrSets: readonly (readonly Xattr[])[];
  /** Whiteouts and opaque marks were taken out, because no layer is below. */
  readonly isLowest: boolean;
}

export function isDirectory(tree: Pick<Tree, 'mode'>, inode: number): boolean {
  return ((tree.mode[inode] ?? 0) & FILE_TYPE.mask) === FILE_TYPE.directory;
}

/** The xattrs of an inode, but for the opaque mark. */
export function xattrsOf(tree: Tree, inode: number): readonly Xattr[] {
  return tree.xattrSets[tree.xattrSet[inode] ?? -1] ?? [];
}

/** The kernel's 32-bit device number; higher bits of major (12) and minor (20) are lost as they are in mknod(2). */
export function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)) >>> 0;
}
