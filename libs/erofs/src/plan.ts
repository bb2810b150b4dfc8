import { FILE_TYPE, type Tree } from '@soci/tree';
import type { DirectoryBlocks } from './directory-blocks.ts';
import { ErofsError } from './erofs-error.ts';
import {
  alignTo,
  BLOCK_BYTES,
  CHUNK_INDEX_BYTES,
  COMPACT_INODE_BYTES,
  EXTENDED_INODE_BYTES,
  INODE_SLOT_BYTES,
  INODES_AT,
  LAYOUT,
} from './format.ts';
import type { XattrBodies } from './xattr-bodies.ts';

const MAX_IMAGE_BYTES = 2 ** 31;
const MAX_SHORT = 0xffff;
const MAX_WORD = 0xffff_ffff;

/** Where everything goes. */
export interface Plan {
  /** The time of all compact inodes, in seconds: the most frequent one. */
  readonly epochSeconds: number;
  /** By inode: its first byte. */
  readonly position: Float64Array;
  /** By inode: 1 for one of 32 bytes, 0 for one of 64. */
  readonly isCompact: Uint8Array;
  /** By inode: one of `LAYOUT`. */
  readonly layout: Uint8Array;
  /** By inode: bytes of a directory, else those of the tree. */
  readonly sizeBytes: Float64Array;
  /** By inode: the first byte of its data blocks, for directories and symbolic links that have any. */
  readonly blocksAt: Float64Array;
  readonly imageBytes: number;
}

/**
 * Gives each inode its place, in the order of the tree (so that the inodes of one directory lie together), and then the blocks of directories and links.
 * The last part of those stands behind its inode when both fit into one block; the inode is moved to the next block when that helps.
 *
 * @throws {ErofsError} `TOO_LARGE`
 */
export function planImage(tree: Tree, xattrs: XattrBodies, directories: DirectoryBlocks): Plan {
  const { inodeCount } = tree;
  const epochSeconds = mostFrequentTime(tree);
  const position = new Float64Array(inodeCount);
  const isCompact = new Uint8Array(inodeCount);
  const layout = new Uint8Array(inodeCount);
  const sizeBytes = new Float64Array(inodeCount);
  const blocksAt = new Float64Array(inodeCount);

  let at = INODES_AT;
  let blockBytes = 0;
  for (let inode = 0; inode < inodeCount; inode++) {
    const type = (tree.mode[inode] ?? 0) & FILE_TYPE.mask;
    const size = type === FILE_TYPE.directory ? directories.sizeOf(inode) : (tree.sizeBytes[inode] ?? 0);
    sizeBytes[inode] = size;
    const compact = isSmall(tree, inode, size, epochSeconds);
    isCompact[inode] = compact ? 1 : 0;
    let length = (compact ? COMPACT_INODE_BYTES : EXTENDED_INODE_BYTES) + xattrs.of(inode).length;
    if (type === FILE_TYPE.regular && size > 0) {
      layout[inode] = LAYOUT.chunks;
      length = alignTo(length, CHUNK_INDEX_BYTES) + CHUNK_INDEX_BYTES;
    } else if (size > 0) {
      const tail = size % BLOCK_BYTES;
      const isInline = tail > 0 && length + tail <= BLOCK_BYTES;
      if (isInline) {
        layout[inode] = LAYOUT.inline;
        length += tail;
        if ((at % BLOCK_BYTES) + length > BLOCK_BYTES) at = alignTo(at, BLOCK_BYTES);
      }
      const inBlocks = isInline ? size - tail : alignTo(size, BLOCK_BYTES);
      blocksAt[inode] = blockBytes;
      blockBytes += inBlocks;
    }
    position[inode] = at;
    at = alignTo(at + length, INODE_SLOT_BYTES);
  }

  const firstBlock = alignTo(at, BLOCK_BYTES);
  for (let inode = 0; inode < inodeCount; inode++) blocksAt[inode] = firstBlock + (blocksAt[inode] ?? 0);
  const imageBytes = firstBlock + blockBytes;
  if (imageBytes > MAX_IMAGE_BYTES) throw new ErofsError('TOO_LARGE', `image of ${imageBytes} bytes`);
  return { epochSeconds, position, isCompact, layout, sizeBytes, blocksAt, imageBytes };
}

/** Whether the short form has room for an inode. */
function isSmall(tree: Tree, inode: number, size: number, epochSeconds: number): boolean {
  return (
    tree.mtimeSeconds[inode] === epochSeconds &&
    tree.mtimeNanos[inode] === 0 &&
    (tree.uid[inode] ?? 0) <= MAX_SHORT &&
    (tree.gid[inode] ?? 0) <= MAX_SHORT &&
    (tree.nlink[inode] ?? 0) <= MAX_SHORT &&
    size <= MAX_WORD
  );
}

function mostFrequentTime(tree: Tree): number {
  const counts = new Map<number, number>();
  let best = 0;
  let bestCount = 0;
  for (let inode = 0; inode < tree.inodeCount; inode++) {
    if (tree.mtimeNanos[inode] !== 0) continue;
    const seconds = tree.mtimeSeconds[inode] ?? 0;
    const count = (counts.get(seconds) ?? 0) + 1;
    counts.set(seconds, count);
    if (count > bestCount) {
      best = seconds;
      bestCount = count;
    }
  }
  return best;
}
