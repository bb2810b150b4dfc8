import { createHash } from 'node:crypto';
import type { Tree } from '@soci/tree';
import { DirectoryBlocks } from './directory-blocks.ts';
import { ErofsError } from './erofs-error.ts';
import { BLOCK_BITS, BLOCK_BYTES, DEVICE_SLOT_AT, INODE_SLOT_BYTES, SUPERBLOCK_AT } from './format.ts';
import { InodeWriter } from './inode-writer.ts';
import { type Plan, planImage } from './plan.ts';
import { XattrBodies } from './xattr-bodies.ts';

/** A part of the key under which an image is kept: it changes whenever the same tree gives other bytes. */
export const IMAGE_VERSION = 1;

const MAGIC = 0xe0f5_e1e2;
/** The time of an inode is that of its last modification. */
const COMPAT_MTIME = 2;
/** Chunked files; a table of devices. */
const INCOMPAT = 0x4 | 0x8;
const MAX_DEVICE_BLOCKS = 0xffff_ffff;

export interface ImageOptions {
  /** Length of the uncompressed tar, which the image is mounted with as its device; rounded up to 512 here and there. */
  readonly deviceSizeBytes: number;
}

/**
 * Writes an EROFS image of a layer's names: 512-byte blocks, metadata only. Each regular file is one chunk of device 1, the uncompressed tar.
 * The same tree and size give the same bytes; the volume's UUID is a hash of them.
 *
 * @returns the image, a multiple of 512 bytes; the caller owns it
 * @throws {ErofsError} when the format cannot express the tree
 */
export function writeImage(tree: Tree, { deviceSizeBytes }: ImageOptions): Uint8Array {
  if (!Number.isSafeInteger(deviceSizeBytes) || deviceSizeBytes < 0)
    throw new ErofsError('BAD_OFFSET', `device of ${deviceSizeBytes} bytes`);
  const deviceBlocks = Math.ceil(deviceSizeBytes / BLOCK_BYTES);
  if (deviceBlocks > MAX_DEVICE_BLOCKS) throw new ErofsError('TOO_LARGE', `tar of ${deviceSizeBytes} bytes, more than 2 TiB`);

  const xattrs = new XattrBodies(tree);
  const directories = new DirectoryBlocks(tree);
  const plan = planImage(tree, xattrs, directories);
  const image = new Uint8Array(plan.imageBytes);
  const view = new DataView(image.buffer);
  writeSuperblock(view, tree, plan, deviceBlocks);
  new InodeWriter({ tree, plan, xattrs, directories, image, view, deviceSizeBytes }).writeAll();
  image.set(createHash('sha256').update(image).digest().subarray(0, 16), SUPERBLOCK_AT + 48);
  return image;
}

function writeSuperblock(view: DataView, tree: Tree, plan: Plan, deviceBlocks: number): void {
  const at = SUPERBLOCK_AT;
  view.setUint32(at, MAGIC, true);
  view.setUint32(at + 8, COMPAT_MTIME, true);
  view.setUint8(at + 12, BLOCK_BITS);
  view.setUint16(at + 14, (plan.position[0] ?? 0) / INODE_SLOT_BYTES, true);
  view.setUint32(at + 16, tree.inodeCount, true);
  view.setBigInt64(at + 24, BigInt(plan.epochSeconds), true);
  view.setUint32(at + 36, plan.imageBytes / BLOCK_BYTES, true);
  view.setUint32(at + 80, INCOMPAT, true);
  view.setUint16(at + 86, 1, true);
  view.setUint16(at + 88, DEVICE_SLOT_AT / 128, true);
  view.setUint32(DEVICE_SLOT_AT + 64, deviceBlocks, true);
}
