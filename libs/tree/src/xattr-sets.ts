import { printable } from './printable.ts';
import { FILE_TYPE, type Xattr } from './tree.ts';
import { TreeError } from './tree-error.ts';

const MAX_KEY_BYTES = 255;
const MAX_VALUE_BYTES = 65_536;
/** What an xattr costs besides its bytes. */
const XATTR_BYTES = 16;
/** A bound on what a hostile layer can make of one inode by many entries, each of which adds to the set that the earlier ones left. Far above what any real layer asks for. */
const MAX_CHANGED_BYTES = 128 * 1024 * 1024;

/** The distinct sets of xattrs of a tree. A set has a number; equal sets have the same. */
export class XattrSets {
  readonly sets: (readonly Xattr[])[];
  readonly #numbers = new Map<string, number>();
  #changedBytes = 0;

  constructor(sets: readonly (readonly Xattr[])[] = []) {
    this.sets = [...sets];
    for (const [number, set] of sets.entries()) this.#numbers.set(identity(set), number);
  }

  /**
   * The set that results when `xattrs` are set, one after the other, on an inode of set `base`.
   *
   * @param base a set's number, or -1 for none
   * @returns a set's number, or -1 for none
   * @throws {TreeError} `INVALID_ENTRY` when large sets are changed too often
   */
  merge(base: number, xattrs: readonly Xattr[]): number {
    if (xattrs.length === 0) return base;
    const byKey = new Map<string, Xattr>();
    for (const xattr of this.#toChange(base)) byKey.set(text(xattr.key), xattr);
    for (const xattr of xattrs) byKey.set(text(xattr.key), xattr);
    return this.#numberOf(byKey);
  }

  /** The set without one key. @throws {TreeError} as `merge` */
  without(base: number, key: string): number {
    if (base === -1) return base;
    const byKey = new Map<string, Xattr>();
    for (const xattr of this.#toChange(base)) {
      if (text(xattr.key) !== key) byKey.set(text(xattr.key), xattr);
    }
    return this.#numberOf(byKey);
  }

  #toChange(base: number): readonly Xattr[] {
    const set = this.sets[base] ?? [];
    for (const { key, value } of set) this.#changedBytes += key.length + value.length + XATTR_BYTES;
    if (this.#changedBytes > MAX_CHANGED_BYTES)
      throw new TreeError('INVALID_ENTRY', `xattrs of one name are set again and again, ${this.#changedBytes} bytes of them`);
    return set;
  }

  #numberOf(byKey: ReadonlyMap<string, Xattr>): number {
    if (byKey.size === 0) return -1;
    // Latin-1 texts compare as their bytes do.
    const set = [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, xattr]) => xattr);
    const id = identity(set);
    const known = this.#numbers.get(id);
    if (known !== undefined) return known;
    this.#numbers.set(id, this.sets.length);
    return this.sets.push(set) - 1;
  }
}

/**
 * What containerd sets of the xattrs a layer asks for: `trusted.*` is refused, namespaces the kernel does not know are passed over,
 * `user.*` exists on files and directories alone.
 *
 * @throws {TreeError} `INVALID_ENTRY` for a key or value no file system takes
 */
export function keptXattrs(xattrs: readonly Xattr[], type: number): readonly Xattr[] {
  return xattrs.filter(({ key, value }) => {
    const name = text(key);
    if (!isKept(name, type)) return false;
    if (key.length > MAX_KEY_BYTES || name.includes('\0') || name.endsWith('.') || value.length > MAX_VALUE_BYTES) {
      throw new TreeError('INVALID_ENTRY', `xattr ${printable(key)}: no file system takes it`);
    }
    return true;
  });
}

function isKept(name: string, type: number): boolean {
  if (name.startsWith('security.')) return true;
  if (name.startsWith('user.')) return type === FILE_TYPE.regular || type === FILE_TYPE.directory;
  if (name === 'system.posix_acl_access') return type !== FILE_TYPE.symlink;
  return name === 'system.posix_acl_default' && type === FILE_TYPE.directory;
}

function identity(set: readonly Xattr[]): string {
  return set.map(({ key, value }) => `${text(key)}\0${value.length}\0${text(value)}`).join('');
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}
