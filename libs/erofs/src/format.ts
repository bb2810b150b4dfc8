/**
 * The parts of the on-disk format that are used here, as the kernel reads them (fs/erofs/erofs_fs.h).
 *
 * @see https://docs.kernel.org/filesystems/erofs.html
 */

export const BLOCK_BITS = 9;
/** The block of a tar, so that the data of every file in it begins on a block. */
export const BLOCK_BYTES = 1 << BLOCK_BITS;

export const SUPERBLOCK_AT = 1024;
export const SUPERBLOCK_BYTES = 128;
export const DEVICE_SLOT_BYTES = 128;
/** The slot that describes the one external device: the uncompressed tar. */
export const DEVICE_SLOT_AT = SUPERBLOCK_AT + SUPERBLOCK_BYTES;
export const DEVICE_ID = 1;
/** Where inodes begin. The root is the first of them, because its number has 16 bits only. */
export const INODES_AT = DEVICE_SLOT_AT + DEVICE_SLOT_BYTES;

/** The number of an inode is its place in units of this. */
export const INODE_SLOT_BYTES = 32;
export const COMPACT_INODE_BYTES = 32;
export const EXTENDED_INODE_BYTES = 64;

/** How the data of an inode is laid out. */
export const LAYOUT = { plain: 0, inline: 2, chunks: 4 } as const;
/** A chunk table whose entries name a device. */
export const CHUNK_INDEXES = 0x20;
export const CHUNK_INDEX_BYTES = 8;
/** A chunk holds at most 2^31 blocks; each file is one chunk. */
export const MAX_CHUNK_BITS = 31;

export const DIRENT_BYTES = 12;

/** File type of a directory entry, by the type bits of a mode. */
export const DIRENT_TYPE: Readonly<Record<number, number>> = {
  0o100000: 1,
  0o040000: 2,
  0o020000: 3,
  0o060000: 4,
  0o010000: 5,
  0o120000: 7,
};

export function alignTo(position: number, unit: number): number {
  return Math.ceil(position / unit) * unit;
}
