import type { Draft } from './draft.ts';
import { NONE } from './name-table.ts';
import { pick, pickDoubles, pickWords } from './pick.ts';
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
    mode: pickWords(inodes.mode, inInodeOrder),
    uid: pickWords(inodes.uid, inInodeOrder),
    gid: pickWords(inodes.gid, inInodeOrder),
    sizeBytes: pickDoubles(inodes.sizeBytes, inInodeOrder),
    dataOffsetBytes: pickDoubles(inodes.dataOffsetBytes, inInodeOrder),
    mtimeSeconds: pickDoubles(inodes.mtimeSeconds, inInodeOrder),
    mtimeNanos: pickWords(inodes.mtimeNanos, inInodeOrder),
    nlink: pickWords(inodes.nlink, inInodeOrder),
    rdev: pickWords(inodes.rdev, inInodeOrder),
    flags: pick(inodes.flags, inInodeOrder, new Uint8Array(inodeCount)),
    xattrSet: pick(inodes.xattrSet, inInodeOrder, new Int32Array(inodeCount)),
    linkStart: pickWords(inodes.linkStart, inInodeOrder),
    linkEnd: pickWords(inodes.linkEnd, inInodeOrder),
    firstName: firstName.slice(0, inodeCount),
    childStart: childStart.slice(0, inodeCount + 1),
    nameStart: pickWords(names.start, inNameOrder),
    nameEnd: pickWords(names.end, inNameOrder),
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
