import { randomInt } from 'node:crypto';
import { doubled } from './inode-table.ts';

/** Stands for "no inode" and "no name". */
export const NONE = 0xffff_ffff;

const FNV_PRIME = 0x0100_0193;
const FINAL_MIX = 0x85eb_ca6b;
// Names come from a registry: whoever wrote them must not know which of them collide.
const SEED = randomInt(2 ** 31);

/**
 * Names of directories while a tree is being built: (directory, name) to inode.
 * A name that was taken away keeps its place, without an inode, so that a pair has one place for ever.
 */
export class NameTable {
  readonly bytes: Uint8Array;
  count = 0;
  start: Uint32Array;
  end: Uint32Array;
  /** The inode a name leads to; NONE when the name was taken away or not yet given. */
  inode: Uint32Array;
  directory: Uint32Array;
  /** The place made before this one in the same directory, or NONE. */
  previous: Uint32Array;
  /** By directory: its latest place + 1, or 0. */
  #latest: Uint32Array;
  /** Place + 1, or 0 for a free slot; a power of two long and never more than half full. */
  #slots: Uint32Array;

  constructor(bytes: Uint8Array, capacity: number) {
    this.bytes = bytes;
    this.start = new Uint32Array(capacity);
    this.end = new Uint32Array(capacity);
    this.inode = new Uint32Array(capacity);
    this.directory = new Uint32Array(capacity);
    this.previous = new Uint32Array(capacity);
    this.#latest = new Uint32Array(capacity);
    this.#slots = new Uint32Array(2 ** Math.ceil(Math.log2(capacity * 2 + 2)));
  }

  /** The inode that a name of a directory leads to, or NONE. */
  find(directory: number, start: number, end: number): number {
    const place = this.#slots[this.#slotOf(directory, start, end)] ?? 0;
    return place === 0 ? NONE : this.inodeAt(place - 1);
  }

  inodeAt(place: number): number {
    return this.inode[place] ?? NONE;
  }

  /** The last place of a directory, from which `previous` leads to the others, or NONE. */
  latestOf(directory: number): number {
    const latest = this.#latest[directory] ?? 0;
    return latest === 0 ? NONE : latest - 1;
  }

  /** The place of a name in a directory; it is made when there is none. */
  place(directory: number, start: number, end: number): number {
    let slot = this.#slotOf(directory, start, end);
    const found = this.#slots[slot] ?? 0;
    if (found !== 0) return found - 1;
    if ((this.count + 1) * 2 > this.#slots.length) {
      this.#growSlots();
      slot = this.#slotOf(directory, start, end);
    }
    return this.#add(slot, directory, start, end);
  }

  #add(slot: number, directory: number, start: number, end: number): number {
    if (this.count === this.start.length) this.#grow();
    while (directory >= this.#latest.length) this.#latest = doubled(this.#latest, Uint32Array);
    const place = this.count++;
    this.start[place] = start;
    this.end[place] = end;
    this.inode[place] = NONE;
    this.directory[place] = directory;
    this.previous[place] = this.latestOf(directory);
    this.#latest[directory] = place + 1;
    this.#slots[slot] = place + 1;
    return place;
  }

  #slotOf(directory: number, start: number, end: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = this.#hash(directory, start, end) & mask;
    for (;;) {
      const found = slots[slot] ?? 0;
      if (found === 0 || this.#isAt(found - 1, directory, start, end)) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #isAt(place: number, directory: number, start: number, end: number): boolean {
    if (this.directory[place] !== directory) return false;
    const other = this.start[place] ?? 0;
    if ((this.end[place] ?? 0) - other !== end - start) return false;
    const { bytes } = this;
    for (let at = start, to = other; at < end; at++, to++) {
      if (bytes[at] !== bytes[to]) return false;
    }
    return true;
  }

  #hash(directory: number, start: number, end: number): number {
    const { bytes } = this;
    let hash = Math.imul(directory + 1, FINAL_MIX) ^ SEED;
    for (let at = start; at < end; at++) hash = Math.imul(hash ^ (bytes[at] ?? 0), FNV_PRIME);
    hash = Math.imul(hash ^ (hash >>> 15), FINAL_MIX);
    return hash ^ (hash >>> 13);
  }

  #growSlots(): void {
    this.#slots = new Uint32Array(this.#slots.length * 2);
    for (let place = 0; place < this.count; place++) {
      this.#slots[this.#slotOf(this.directory[place] ?? 0, this.start[place] ?? 0, this.end[place] ?? 0)] = place + 1;
    }
  }

  #grow(): void {
    this.start = doubled(this.start, Uint32Array);
    this.end = doubled(this.end, Uint32Array);
    this.inode = doubled(this.inode, Uint32Array);
    this.directory = doubled(this.directory, Uint32Array);
    this.previous = doubled(this.previous, Uint32Array);
  }
}
