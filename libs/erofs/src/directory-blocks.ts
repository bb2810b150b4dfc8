import { FILE_TYPE, parentOf, type Tree } from '@soci/tree';
import { BLOCK_BYTES, DIRENT_BYTES, DIRENT_TYPE, INODE_SLOT_BYTES } from './format.ts';

const DOT = 0x2e;
/** In `#entries`, the directory itself and the one it stands in. */
const SELF = -1;
const PARENT = -2;

/**
 * The entries of directories, packed into blocks: first the fixed part of all entries of a block, then their names.
 * The kernel searches by halves, so `.` and `..` stand where their bytes sort them.
 */
export class DirectoryBlocks {
  readonly #tree: Tree;
  #entries = new Int32Array(256);
  #count = 0;

  constructor(tree: Tree) {
    this.#tree = tree;
  }

  /** Bytes of a directory: whole blocks and what its last block uses. */
  sizeOf(directory: number): number {
    this.#load(directory);
    let blocks = 0;
    let used = 0;
    for (let at = 0; at < this.#count; at++) {
      const bytes = DIRENT_BYTES + this.#nameBytes(at);
      if (used + bytes > BLOCK_BYTES) {
        blocks++;
        used = 0;
      }
      used += bytes;
    }
    return blocks * BLOCK_BYTES + used;
  }

  /**
   * @param blocksAt where the whole blocks go
   * @param tailAt where the last block goes, when it is not full and stands apart from the others
   * @param position where inodes are
   */
  write(image: Uint8Array, view: DataView, directory: number, blocksAt: number, tailAt: number | undefined, position: Float64Array): void {
    this.#load(directory);
    let blockAt = blocksAt;
    for (let first = 0; first < this.#count; ) {
      const end = this.#endOfBlock(first);
      const at = end === this.#count && tailAt !== undefined ? tailAt : blockAt;
      this.#writeBlock(image, view, directory, first, end, at, position);
      blockAt += BLOCK_BYTES;
      first = end;
    }
  }

  #writeBlock(image: Uint8Array, view: DataView, directory: number, first: number, end: number, at: number, position: Float64Array): void {
    const tree = this.#tree;
    let nameAt = (end - first) * DIRENT_BYTES;
    for (let i = first, entryAt = at; i < end; i++, entryAt += DIRENT_BYTES) {
      const child = this.#entries[i] ?? SELF;
      const inode = child >= 0 ? (tree.childInode[child] ?? 0) : child === SELF ? directory : parentOf(tree, directory);
      view.setUint32(entryAt, (position[inode] ?? 0) / INODE_SLOT_BYTES, true);
      view.setUint16(entryAt + 8, nameAt, true);
      image[entryAt + 10] = DIRENT_TYPE[(tree.mode[inode] ?? 0) & FILE_TYPE.mask] ?? 0;
      if (child < 0) {
        for (let dots = child; dots < 0; dots++) image[at + nameAt++] = DOT;
      } else {
        const nameEnd = tree.nameEnd[child] ?? 0;
        for (let from = tree.nameStart[child] ?? 0; from < nameEnd; from++) image[at + nameAt++] = tree.bytes[from] ?? 0;
      }
    }
  }

  #endOfBlock(first: number): number {
    let used = 0;
    let at = first;
    for (; at < this.#count; at++) {
      used += DIRENT_BYTES + this.#nameBytes(at);
      if (used > BLOCK_BYTES) break;
    }
    return at;
  }

  #nameBytes(at: number): number {
    const child = this.#entries[at] ?? SELF;
    return child < 0 ? -child : (this.#tree.nameEnd[child] ?? 0) - (this.#tree.nameStart[child] ?? 0);
  }

  /** Names that begin with a byte below `.` come before `.`, and those that begin with `.` and such a byte before `..`. */
  #load(directory: number): void {
    const { bytes, childStart, nameStart } = this.#tree;
    const end = childStart[directory + 1] ?? 0;
    let child = childStart[directory] ?? 0;
    const needed = end - child + 2;
    if (needed > this.#entries.length) this.#entries = new Int32Array(needed * 2);
    const entries = this.#entries;
    let count = 0;
    for (; child < end && (bytes[nameStart[child] ?? 0] ?? 0) < DOT; child++) entries[count++] = child;
    entries[count++] = SELF;
    for (; child < end && this.#sortsBeforeParent(child); child++) entries[count++] = child;
    entries[count++] = PARENT;
    for (; child < end; child++) entries[count++] = child;
    this.#count = count;
  }

  #sortsBeforeParent(child: number): boolean {
    const { bytes, nameStart } = this.#tree;
    const start = nameStart[child] ?? 0;
    return bytes[start] === DOT && (bytes[start + 1] ?? 0) < DOT;
  }
}
