import { ENTRY_TYPE, type TocColumns } from '@soci/ztoc';
import { Draft } from './draft.ts';
import { finishTree } from './finish-tree.ts';
import { NONE } from './name-table.ts';
import { MAX_PATH_BYTES, PathParts } from './path-parts.ts';
import { printable } from './printable.ts';
import { encodeDevice, FILE_TYPE, INODE_FLAG, type Tree } from './tree.ts';
import { TreeError } from './tree-error.ts';
import { isHidden, whiteoutKind } from './whiteout.ts';
import { keptXattrs, XattrSets } from './xattr-sets.ts';

/** The last second, and nanoseconds in it, that fit in signed 64-bit nanoseconds: what is later (or before 1970) containerd sets to 1970. */
const MAX_MTIME_SECONDS = 9_223_372_036;
const MAX_MTIME_NANOS = 854_775_807;
/** To chown(2) this means "leave it as it is". */
const NO_OWNER = 0xffff_ffff;

const TYPE_BITS: readonly number[] = Object.assign([], {
  [ENTRY_TYPE.regular]: FILE_TYPE.regular,
  [ENTRY_TYPE.directory]: FILE_TYPE.directory,
  [ENTRY_TYPE.symlink]: FILE_TYPE.symlink,
  [ENTRY_TYPE.character]: FILE_TYPE.character,
  [ENTRY_TYPE.block]: FILE_TYPE.block,
  [ENTRY_TYPE.fifo]: FILE_TYPE.fifo,
});

/**
 * Applies the entries of a layer's table of contents one after the other, as containerd's unpacker for overlayfs does, and returns the names that result.
 *
 * - Names are cleaned by their text; none leads outside the root. Parents follow the symbolic links of the layer itself, as in a chroot.
 * - A later entry replaces an earlier one of the same name; a directory over a directory only updates it. A hard link sets the attributes of the file it names.
 * - `.wh.x` becomes a 0/0 character device named `x` unless the layer has an `x` of its own; `.wh..wh..opq` makes its directory opaque; other names with `.wh.` are not seen.
 * - The root keeps 0755 0:0 whatever its entry says, as containerd does; only its time is taken.
 * - `trusted.*` xattrs are dropped, others kept.
 *
 * @throws {TreeError} when containerd would refuse the layer too, or when it asks for more than any real layer does
 * @see https://github.com/opencontainers/image-spec/blob/main/layer.md#applying-changesets
 */
export function buildTree(columns: TocColumns): Tree {
  return finishTree(...new TreeBuilder(columns).run());
}

class TreeBuilder {
  readonly #columns: TocColumns;
  readonly #draft: Draft;
  readonly #xattrSets = new XattrSets();
  readonly #path = new PathParts();
  readonly #target = new PathParts();
  readonly #lastParent = { directory: 0, start: 0, end: 0, removals: 0 };

  constructor(columns: TocColumns) {
    this.#columns = columns;
    this.#draft = new Draft(columns.bytes, columns.count + 64);
  }

  run(): [Draft, XattrSets] {
    for (let entry = 0; entry < this.#columns.count; entry++) this.#apply(entry);
    return [this.#draft, this.#xattrSets];
  }

  #apply(entry: number): void {
    const { bytes, nameStart, nameEnd, type } = this.#columns;
    const path = this.#path;
    const start = nameStart[entry] ?? 0;
    const end = nameEnd[entry] ?? 0;
    if (start === end) throw new TreeError('INVALID_NAME', `entry ${entry}: empty name`);
    path.parse(bytes, start, end);
    if (path.count === 0) {
      if (type[entry] !== ENTRY_TYPE.directory)
        throw new TreeError('INVALID_NAME', `${printable(bytes, start, end)}: names the root, but is no directory`);
      this.#setTime(entry, 0);
      return;
    }
    if (isHidden(bytes, path)) return;
    const baseStart = path.start[path.count - 1] ?? 0;
    const baseEnd = path.end[path.count - 1] ?? 0;
    const parent = this.#parentOf(start, baseStart);
    const whiteout = whiteoutKind(bytes, baseStart, baseEnd);
    if (whiteout === 'opaque') this.#draft.inodes.setFlag(parent, INODE_FLAG.opaque);
    else if (whiteout === 'name') this.#whiteOut(entry, this.#draft.names.place(parent, baseStart + 4, baseEnd));
    else if (type[entry] === ENTRY_TYPE.hardLink) this.#hardLink(entry, this.#draft.names.place(parent, baseStart, baseEnd));
    else this.#put(entry, this.#draft.names.place(parent, baseStart, baseEnd));
  }

  /** The directory that the path just parsed leads to. Entries of one directory mostly come together, so the last one is remembered by the bytes before the name. */
  #parentOf(start: number, baseStart: number): number {
    const { bytes } = this.#columns;
    const last = this.#lastParent;
    let isSame = last.removals === this.#draft.removals && last.end - last.start === baseStart - start;
    for (let at = start, to = last.start; isSame && at < baseStart; at++, to++) isSame = bytes[at] === bytes[to];
    if (!isSame) {
      last.directory = this.#draft.walk(this.#path, this.#path.count - 1, true);
      last.start = start;
      last.end = baseStart;
      last.removals = this.#draft.removals;
    }
    return last.directory;
  }

  #whiteOut(entry: number, place: number): void {
    const { inodes, names } = this.#draft;
    if (names.inodeAt(place) !== NONE) return;
    const inode = inodes.add(FILE_TYPE.character);
    inodes.setFlag(inode, INODE_FLAG.whiteout);
    this.#setOwner(entry, inode);
    this.#setTime(entry, inode);
    this.#draft.link(place, inode);
  }

  #put(entry: number, place: number): void {
    const { inodes, names } = this.#draft;
    const type = TYPE_BITS[this.#columns.type[entry] ?? -1];
    if (type === undefined) throw new TreeError('INVALID_ENTRY', `${this.#show(entry)}: unknown type ${String(this.#columns.type[entry])}`);
    const existing = names.inodeAt(place);
    if (existing !== NONE) {
      if (type === FILE_TYPE.directory && inodes.type(existing) === type) {
        inodes.clearFlag(existing, INODE_FLAG.implied);
        this.#setAttributes(entry, existing);
        return;
      }
      this.#draft.unlink(place);
    }
    const inode = inodes.add(type);
    this.#setAttributes(entry, inode);
    this.#setContent(entry, inode, type);
    this.#draft.link(place, inode);
  }

  #hardLink(entry: number, place: number): void {
    const { bytes, linkStart, linkEnd } = this.#columns;
    const { inodes, names } = this.#draft;
    if (names.inodeAt(place) !== NONE) this.#draft.unlink(place);
    const start = linkStart[entry] ?? 0;
    const end = linkEnd[entry] ?? 0;
    const target = this.#target;
    target.parse(bytes, start, end);
    const directory = target.count === 0 ? NONE : this.#draft.walk(target, target.count - 1, false);
    const last = target.count - 1;
    const inode = directory === NONE ? NONE : names.find(directory, target.start[last] ?? 0, target.end[last] ?? 0);
    if (inode === NONE || inodes.type(inode) === FILE_TYPE.directory || inodes.hasFlag(inode, INODE_FLAG.whiteout)) {
      throw new TreeError(
        'UNRESOLVED_LINK',
        `${this.#show(entry)}: hard link to ${printable(bytes, start, end)}, which is no file of this layer`,
      );
    }
    // chown(2) on a file takes its capabilities away, so only what this entry brings is left.
    inodes.xattrSet[inode] = this.#xattrSets.without(inodes.xattrSet[inode] ?? -1, 'security.capability');
    this.#setAttributes(entry, inode);
    this.#draft.link(place, inode);
  }

  #setContent(entry: number, inode: number, type: number): void {
    const { inodes } = this.#draft;
    const columns = this.#columns;
    if (type === FILE_TYPE.regular) {
      const size = columns.sizeBytes[entry] ?? 0;
      if (!Number.isSafeInteger(size) || size < 0) throw new TreeError('INVALID_ENTRY', `${this.#show(entry)}: size ${size}`);
      inodes.sizeBytes[inode] = size;
      if (size > 0) inodes.dataOffsetBytes[inode] = columns.offsetBytes[entry] ?? 0;
    } else if (type === FILE_TYPE.symlink) {
      const start = columns.linkStart[entry] ?? 0;
      const end = columns.linkEnd[entry] ?? 0;
      this.#checkTarget(entry, start, end);
      inodes.linkStart[inode] = start;
      inodes.linkEnd[inode] = end;
      inodes.sizeBytes[inode] = end - start;
    } else if (type === FILE_TYPE.character || type === FILE_TYPE.block) {
      inodes.rdev[inode] = encodeDevice(columns.devMajor[entry] ?? 0, columns.devMinor[entry] ?? 0);
    }
  }

  #checkTarget(entry: number, start: number, end: number): void {
    if (start === end) throw new TreeError('INVALID_ENTRY', `${this.#show(entry)}: symbolic link to nothing`);
    if (end - start > MAX_PATH_BYTES)
      throw new TreeError('NAME_TOO_LONG', `${this.#show(entry)}: link target longer than ${MAX_PATH_BYTES} bytes`);
    const { bytes } = this.#columns;
    for (let at = start; at < end; at++) {
      if (bytes[at] === 0) throw new TreeError('INVALID_NAME', `${this.#show(entry)}: NUL in the link target`);
    }
  }

  #setAttributes(entry: number, inode: number): void {
    const { inodes } = this.#draft;
    const columns = this.#columns;
    const type = inodes.type(inode);
    inodes.mode[inode] = type | (type === FILE_TYPE.symlink ? 0o777 : (columns.mode[entry] ?? 0) & 0o7777);
    this.#setOwner(entry, inode);
    this.#setTime(entry, inode);
    if (columns.xattrCount[entry] !== 0) {
      const xattrs = keptXattrs(columns.xattrs(entry), type);
      inodes.xattrSet[inode] = this.#xattrSets.merge(inodes.xattrSet[inode] ?? -1, xattrs);
    }
  }

  #setOwner(entry: number, inode: number): void {
    const { inodes } = this.#draft;
    const uid = this.#columns.uid[entry] ?? 0;
    const gid = this.#columns.gid[entry] ?? 0;
    if (uid !== NO_OWNER) inodes.uid[inode] = uid;
    if (gid !== NO_OWNER) inodes.gid[inode] = gid;
  }

  #setTime(entry: number, inode: number): void {
    const { inodes } = this.#draft;
    const seconds = this.#columns.mtimeSeconds[entry] ?? 0;
    const nanos = this.#columns.mtimeNanos[entry] ?? 0;
    const fits = seconds >= 0 && (seconds < MAX_MTIME_SECONDS || (seconds === MAX_MTIME_SECONDS && nanos <= MAX_MTIME_NANOS));
    inodes.mtimeSeconds[inode] = fits ? seconds : 0;
    inodes.mtimeNanos[inode] = fits ? nanos % 1e9 : 0;
  }

  #show(entry: number): string {
    const { bytes, nameStart, nameEnd } = this.#columns;
    return printable(bytes, nameStart[entry], nameEnd[entry]);
  }
}
