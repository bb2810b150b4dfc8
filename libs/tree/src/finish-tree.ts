import type { Draft } from './draft.ts';
import { NONE } from './name-table.ts';
import { FILE_TYPE, type Tree } from './tree.ts';
import type { XattrSets } from './xattr-sets.ts';

/** Numbers the inodes that are left breadth first, sorts the names of each directory, and takes over the columns. */
export function finishTree(draft: Draft, { sets }: XattrSets): Tree {
  const { inodes, names } = draft;
  const order = new Uint32Array(inodes.count);
  const number = new Uint32Array(inodes.count).fill(NONE);
  const firstName = new Uint32Array(inodes.count);
  const childStart = new Uint32Array(inodes.count + 1);
  const childPlace = new Uint32Array(names.count);
  const childInode = new Uint32Array(names.count);
  const childParent = new Uint32Array(names.count);
  const sorter = new NameSorter(draft);
  let inodeCount = 1;
  let childCount = 0;
  number[0] = 0;
  for (let i = 0; i < inodeCount; i++) {
    childStart[i] = childCount;
    const inode = order[i] ?? 0;
    if (inodes.type(inode) !== FILE_TYPE.directory) continue;
    for (const place of sorter.namesOf(inode)) {
      const child = names.inodeAt(place);
      if (number[child] === NONE) {
        number[child] = inodeCount;
        firstName[inodeCount] = childCount;
        order[inodeCount++] = child;
      }
      childPlace[childCount] = place;
      childInode[childCount] = number[child] ?? 0;
      childParent[childCount++] = i;
    }
  }
  childStart[inodeCount] = childCount;
  const inInodeOrder = order.subarray(0, inodeCount);
  const inNameOrder = childPlace.subarray(0, childCount);
  return {
    inodeCount,
    bytes: draft.bytes,
    mode: inInodeOrder.map((inode) => inodes.mode[inode] ?? 0),
    uid: inInodeOrder.map((inode) => inodes.uid[inode] ?? 0),
    gid: inInodeOrder.map((inode) => inodes.gid[inode] ?? 0),
    sizeBytes: Float64Array.from(inInodeOrder, (inode) => inodes.sizeBytes[inode] ?? 0),
    dataOffsetBytes: Float64Array.from(inInodeOrder, (inode) => inodes.dataOffsetBytes[inode] ?? 0),
    mtimeSeconds: Float64Array.from(inInodeOrder, (inode) => inodes.mtimeSeconds[inode] ?? 0),
    mtimeNanos: inInodeOrder.map((inode) => inodes.mtimeNanos[inode] ?? 0),
    nlink: inInodeOrder.map((inode) => inodes.nlink[inode] ?? 0),
    rdev: inInodeOrder.map((inode) => inodes.rdev[inode] ?? 0),
    flags: Uint8Array.from(inInodeOrder, (inode) => inodes.flags[inode] ?? 0),
    xattrSet: Int32Array.from(inInodeOrder, (inode) => inodes.xattrSet[inode] ?? -1),
    linkStart: inInodeOrder.map((inode) => inodes.linkStart[inode] ?? 0),
    linkEnd: inInodeOrder.map((inode) => inodes.linkEnd[inode] ?? 0),
    firstName: firstName.slice(0, inodeCount),
    childStart: childStart.slice(0, inodeCount + 1),
    nameStart: inNameOrder.map((place) => names.start[place] ?? 0),
    nameEnd: inNameOrder.map((place) => names.end[place] ?? 0),
    childInode: childInode.slice(0, childCount),
    childParent: childParent.slice(0, childCount),
    xattrSets: sets,
    isLowest: false,
  };
}

const KEY_BYTES = 6;

/** Sorts the names of one directory by their bytes. The first six of them are compared as one number. */
class NameSorter {
  readonly #draft: Draft;
  readonly #keys: Float64Array;

  constructor(draft: Draft) {
    this.#draft = draft;
    this.#keys = new Float64Array(draft.names.count);
  }

  namesOf(directory: number): readonly number[] {
    const { names } = this.#draft;
    const places: number[] = [];
    for (let place = names.latestOf(directory); place !== NONE; place = names.previous[place] ?? NONE) {
      if (names.inodeAt(place) === NONE) continue;
      this.#keys[place] = this.#keyOf(place);
      places.push(place);
    }
    places.reverse();
    return this.#isSorted(places) ? places : places.sort((a, b) => this.#compare(a, b));
  }

  #isSorted(places: readonly number[]): boolean {
    for (let i = 1; i < places.length; i++) {
      if (this.#compare(places[i - 1] ?? 0, places[i] ?? 0) > 0) return false;
    }
    return true;
  }

  /** Names hold no NUL, so a shorter one padded with it comes first. */
  #keyOf(place: number): number {
    const { bytes, names } = this.#draft;
    const start = names.start[place] ?? 0;
    const length = (names.end[place] ?? 0) - start;
    let key = 0;
    for (let i = 0; i < KEY_BYTES; i++) key = key * 256 + (i < length ? (bytes[start + i] ?? 0) : 0);
    return key;
  }

  #compare(a: number, b: number): number {
    const byKey = (this.#keys[a] ?? 0) - (this.#keys[b] ?? 0);
    if (byKey !== 0) return byKey;
    const { bytes, names } = this.#draft;
    const startA = names.start[a] ?? 0;
    const startB = names.start[b] ?? 0;
    const lengthA = (names.end[a] ?? 0) - startA;
    const lengthB = (names.end[b] ?? 0) - startB;
    const shorter = Math.min(lengthA, lengthB);
    for (let i = KEY_BYTES; i < shorter; i++) {
      const difference = (bytes[startA + i] ?? 0) - (bytes[startB + i] ?? 0);
      if (difference !== 0) return difference;
    }
    return lengthA - lengthB;
  }
}
