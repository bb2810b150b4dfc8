import { FILE_TYPE, pathOf, type Tree } from '@soci/tree';
import type { DirectoryBlocks } from './directory-blocks.ts';
import { ErofsError } from './erofs-error.ts';
import {
  alignTo,
  BLOCK_BITS,
  BLOCK_BYTES,
  CHUNK_INDEX_BYTES,
  CHUNK_INDEXES,
  COMPACT_INODE_BYTES,
  DEVICE_ID,
  EXTENDED_INODE_BYTES,
  LAYOUT,
  MAX_CHUNK_BITS,
} from './format.ts';
import type { Plan } from './plan.ts';
import { type XattrBodies, xattrCount } from './xattr-bodies.ts';

const WORD = 2 ** 32;

export interface InodeWriterParts {
  readonly tree: Tree;
  readonly plan: Plan;
  readonly xattrs: XattrBodies;
  readonly directories: DirectoryBlocks;
  readonly image: Uint8Array;
  readonly view: DataView;
  readonly deviceSizeBytes: number;
}

/** Writes inodes, with what belongs to them, to the places a plan gives. */
export class InodeWriter {
  readonly #parts: InodeWriterParts;

  constructor(parts: InodeWriterParts) {
    this.#parts = parts;
  }

  writeAll(): void {
    for (let inode = 0; inode < this.#parts.tree.inodeCount; inode++) this.#write(inode);
  }

  #write(inode: number): void {
    const { tree, plan, xattrs, image } = this.#parts;
    const isCompact = plan.isCompact[inode] === 1;
    const at = plan.position[inode] ?? 0;
    const body = xattrs.of(inode);
    const bodyAt = at + (isCompact ? COMPACT_INODE_BYTES : EXTENDED_INODE_BYTES);
    const content = this.#writeContent(inode, bodyAt + body.length);
    this.#writeHead(inode, at, isCompact, xattrCount(body.length));
    this.#parts.view.setUint32(at + 16, content, true);
    this.#parts.view.setUint32(at + 20, inode + 1, true);
    if (isCompact) this.#writeCompact(inode, at);
    else this.#writeExtended(inode, at);
    if (body.length > 0) image.set(body, bodyAt);
    if (((tree.mode[inode] ?? 0) & FILE_TYPE.mask) === FILE_TYPE.symlink) this.#writeTarget(inode, bodyAt + body.length);
  }

  #writeHead(inode: number, at: number, isCompact: boolean, xattrCount: number): void {
    const { tree, plan, view } = this.#parts;
    view.setUint16(at, (isCompact ? 0 : 1) | ((plan.layout[inode] ?? 0) << 1), true);
    view.setUint16(at + 2, xattrCount, true);
    view.setUint16(at + 4, tree.mode[inode] ?? 0, true);
  }

  #writeCompact(inode: number, at: number): void {
    const { tree, plan, view } = this.#parts;
    view.setUint16(at + 6, tree.nlink[inode] ?? 0, true);
    view.setUint32(at + 8, plan.sizeBytes[inode] ?? 0, true);
    view.setUint16(at + 24, tree.uid[inode] ?? 0, true);
    view.setUint16(at + 26, tree.gid[inode] ?? 0, true);
  }

  #writeExtended(inode: number, at: number): void {
    const { tree, plan, view } = this.#parts;
    this.#writeLong(at + 8, plan.sizeBytes[inode] ?? 0);
    view.setUint32(at + 24, tree.uid[inode] ?? 0, true);
    view.setUint32(at + 28, tree.gid[inode] ?? 0, true);
    this.#writeLong(at + 32, tree.mtimeSeconds[inode] ?? 0);
    view.setUint32(at + 40, tree.mtimeNanos[inode] ?? 0, true);
    view.setUint32(at + 44, tree.nlink[inode] ?? 0, true);
  }

  #writeLong(at: number, value: number): void {
    this.#parts.view.setUint32(at, value % WORD, true);
    this.#parts.view.setInt32(at + 4, Math.floor(value / WORD), true);
  }

  /**
   * Writes the chunk table of a file or the entries of a directory.
   *
   * @param tailAt where the part behind inode and xattrs begins
   * @returns the inode's union field: chunk format, first block or device number
   */
  #writeContent(inode: number, tailAt: number): number {
    const { tree, plan, directories, image, view } = this.#parts;
    const layout = plan.layout[inode];
    const blocksAt = plan.blocksAt[inode] ?? 0;
    switch ((tree.mode[inode] ?? 0) & FILE_TYPE.mask) {
      case FILE_TYPE.regular:
        return layout === LAYOUT.chunks ? this.#writeChunk(inode, alignTo(tailAt, CHUNK_INDEX_BYTES)) : 0;
      case FILE_TYPE.directory:
        directories.write(image, view, inode, blocksAt, layout === LAYOUT.inline ? tailAt : undefined, plan.position);
        return blocksAt / BLOCK_BYTES;
      case FILE_TYPE.symlink:
        return blocksAt / BLOCK_BYTES;
      default:
        return tree.rdev[inode] ?? 0;
    }
  }

  #writeChunk(inode: number, at: number): number {
    const { tree, view, deviceSizeBytes } = this.#parts;
    const size = tree.sizeBytes[inode] ?? 0;
    const offset = tree.dataOffsetBytes[inode] ?? 0;
    if (!(offset >= 0 && offset % BLOCK_BYTES === 0 && offset + size <= deviceSizeBytes)) {
      throw new ErofsError('BAD_OFFSET', `${this.#show(inode)}: ${size} bytes at ${offset} of a tar of ${deviceSizeBytes}`);
    }
    let bits = 0;
    while (2 ** (bits + BLOCK_BITS) < size) bits++;
    if (bits > MAX_CHUNK_BITS) throw new ErofsError('TOO_LARGE', `${this.#show(inode)}: file of ${size} bytes, more than 1 TiB`);
    view.setUint16(at + 2, DEVICE_ID, true);
    view.setUint32(at + 4, offset / BLOCK_BYTES, true);
    return bits | CHUNK_INDEXES;
  }

  #writeTarget(inode: number, tailAt: number): void {
    const { tree, plan, image } = this.#parts;
    const target = tree.bytes.subarray(tree.linkStart[inode], tree.linkEnd[inode]);
    const isInline = plan.layout[inode] === LAYOUT.inline;
    const inBlocks = isInline ? target.length - (target.length % BLOCK_BYTES) : target.length;
    image.set(target.subarray(0, inBlocks), plan.blocksAt[inode] ?? 0);
    image.set(target.subarray(inBlocks), tailAt);
  }

  #show(inode: number): string {
    return JSON.stringify(Buffer.from(pathOf(this.#parts.tree, inode)).toString());
  }
}
