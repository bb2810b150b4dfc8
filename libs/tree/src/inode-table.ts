import { FILE_TYPE } from './tree.ts';

/** Attributes of inodes while a tree is being built; the columns are those of `Tree`. A number is never used again. */
export class InodeTable {
  count = 0;
  mode: Uint32Array;
  uid: Uint32Array;
  gid: Uint32Array;
  sizeBytes: Float64Array;
  dataOffsetBytes: Float64Array;
  mtimeSeconds: Float64Array;
  mtimeNanos: Uint32Array;
  nlink: Uint32Array;
  rdev: Uint32Array;
  flags: Uint8Array;
  xattrSet: Int32Array;
  linkStart: Uint32Array;
  linkEnd: Uint32Array;
  /** Of a directory: the directory it stands in, and how deep. */
  parent: Uint32Array;
  depth: Uint16Array;

  constructor(capacity: number) {
    this.mode = new Uint32Array(capacity);
    this.uid = new Uint32Array(capacity);
    this.gid = new Uint32Array(capacity);
    this.sizeBytes = new Float64Array(capacity);
    this.dataOffsetBytes = new Float64Array(capacity);
    this.mtimeSeconds = new Float64Array(capacity);
    this.mtimeNanos = new Uint32Array(capacity);
    this.nlink = new Uint32Array(capacity);
    this.rdev = new Uint32Array(capacity);
    this.flags = new Uint8Array(capacity);
    this.xattrSet = new Int32Array(capacity);
    this.linkStart = new Uint32Array(capacity);
    this.linkEnd = new Uint32Array(capacity);
    this.parent = new Uint32Array(capacity);
    this.depth = new Uint16Array(capacity);
  }

  add(mode: number): number {
    if (this.count === this.mode.length) this.#grow();
    const inode = this.count++;
    this.mode[inode] = mode;
    this.xattrSet[inode] = -1;
    return inode;
  }

  type(inode: number): number {
    return (this.mode[inode] ?? 0) & FILE_TYPE.mask;
  }

  hasFlag(inode: number, flag: number): boolean {
    return ((this.flags[inode] ?? 0) & flag) !== 0;
  }

  setFlag(inode: number, flag: number): void {
    this.flags[inode] = (this.flags[inode] ?? 0) | flag;
  }

  clearFlag(inode: number, flag: number): void {
    this.flags[inode] = (this.flags[inode] ?? 0) & ~flag;
  }

  addLinks(inode: number, links: number): void {
    this.nlink[inode] = (this.nlink[inode] ?? 0) + links;
  }

  #grow(): void {
    this.mode = doubled(this.mode, Uint32Array);
    this.uid = doubled(this.uid, Uint32Array);
    this.gid = doubled(this.gid, Uint32Array);
    this.sizeBytes = doubled(this.sizeBytes, Float64Array);
    this.dataOffsetBytes = doubled(this.dataOffsetBytes, Float64Array);
    this.mtimeSeconds = doubled(this.mtimeSeconds, Float64Array);
    this.mtimeNanos = doubled(this.mtimeNanos, Uint32Array);
    this.nlink = doubled(this.nlink, Uint32Array);
    this.rdev = doubled(this.rdev, Uint32Array);
    this.flags = doubled(this.flags, Uint8Array);
    this.xattrSet = doubled(this.xattrSet, Int32Array);
    this.linkStart = doubled(this.linkStart, Uint32Array);
    this.linkEnd = doubled(this.linkEnd, Uint32Array);
    this.parent = doubled(this.parent, Uint32Array);
    this.depth = doubled(this.depth, Uint16Array);
  }
}

type Numbers = Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array;

export function doubled<T extends Numbers>(column: T, make: new (length: number) => T): T {
  const larger = new make(column.length * 2);
  larger.set(column);
  return larger;
}
