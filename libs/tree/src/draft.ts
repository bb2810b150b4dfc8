import { InodeTable } from './inode-table.ts';
import { NameTable, NONE } from './name-table.ts';
import { MAX_DEPTH, PathParts } from './path-parts.ts';
import { printable } from './printable.ts';
import { FILE_TYPE, INODE_FLAG, SET_GROUP_ID } from './tree.ts';
import { TreeError } from './tree-error.ts';
import { WorkBudget } from './work-budget.ts';

const IMPLIED_MODE = FILE_TYPE.directory | 0o755;
/** As many as containerd follows on one path. */
const MAX_LINKS_PER_PATH = 255;

/** A tree that is still being changed: what a directory is to an unpacker. */
export class Draft {
  readonly inodes: InodeTable;
  readonly names: NameTable;
  readonly bytes: Uint8Array;
  /** How many names were taken away: a directory found before the last of them may be gone. */
  removals = 0;
  readonly #target = new PathParts();
  readonly #pendingStart = new Uint32Array(2 * MAX_DEPTH);
  readonly #pendingEnd = new Uint32Array(2 * MAX_DEPTH);
  readonly #budget = new WorkBudget();

  constructor(bytes: Uint8Array, capacity: number) {
    this.bytes = bytes;
    this.inodes = new InodeTable(capacity);
    this.names = new NameTable(bytes, capacity);
    const root = this.inodes.add(IMPLIED_MODE);
    this.inodes.nlink[root] = 2;
  }

  /** Puts an inode at a place whose name is free. */
  link(place: number, inode: number): void {
    const { inodes, names } = this;
    names.inode[place] = inode;
    if (inodes.type(inode) !== FILE_TYPE.directory) {
      inodes.addLinks(inode, 1);
      return;
    }
    const directory = names.directory[place] ?? 0;
    const depth = (inodes.depth[directory] ?? 0) + 1;
    if (depth > MAX_DEPTH) throw new TreeError('NAME_TOO_LONG', `${this.show(place)}: more than ${MAX_DEPTH} directories deep`);
    inodes.parent[inode] = directory;
    inodes.depth[inode] = depth;
    inodes.nlink[inode] = 2;
    inodes.addLinks(directory, 1);
  }

  /** Takes a name away, with all that is below it. */
  unlink(place: number): void {
    const { inodes, names } = this;
    const inode = names.inodeAt(place);
    this.removals++;
    names.inode[place] = NONE;
    if (inodes.type(inode) !== FILE_TYPE.directory) {
      inodes.addLinks(inode, -1);
      return;
    }
    inodes.addLinks(names.directory[place] ?? 0, -1);
    const directories = [inode];
    for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
      for (let child = names.latestOf(directory); child !== NONE; child = names.previous[child] ?? NONE) {
        const below = names.inodeAt(child);
        if (below === NONE) continue;
        names.inode[child] = NONE;
        if (inodes.type(below) === FILE_TYPE.directory) directories.push(below);
        else inodes.addLinks(below, -1);
      }
    }
  }

  /**
   * Goes from the root through the first `count` components, following symbolic links inside the layer as a chroot would:
   * an absolute target starts at the root, and `..` stops there.
   *
   * @param make whether directories that are not there are made, as implied ones
   * @returns the directory, or NONE when it is not there and must not be made
   */
  walk(parts: PathParts, count: number, make: boolean): number {
    const start = this.#pendingStart;
    const end = this.#pendingEnd;
    let pending = this.#push(0, parts, count);
    let directory = 0;
    let links = 0;
    while (pending > 0) {
      pending--;
      const from = start[pending] ?? 0;
      const to = end[pending] ?? 0;
      const inode = this.names.find(directory, from, to);
      const type = inode === NONE ? 0 : this.inodes.type(inode);
      if (type === FILE_TYPE.directory) {
        directory = inode;
      } else if (type === FILE_TYPE.symlink) {
        if (++links > MAX_LINKS_PER_PATH) throw new TreeError('TOO_MANY_LINKS', `${printable(this.bytes, from, to)}: too many links`);
        this.#follow(inode);
        directory = this.#startOf(directory);
        pending = this.#push(pending, this.#target, this.#target.count);
      } else if (type === 0 || this.inodes.hasFlag(inode, INODE_FLAG.whiteout)) {
        if (!make) return NONE;
        directory = this.#imply(directory, from, to);
      } else if (make) {
        throw new TreeError('NOT_A_DIRECTORY', `${printable(this.bytes, from, to)}: names below a file`);
      } else {
        return NONE;
      }
    }
    return directory;
  }

  show(place: number): string {
    return printable(this.bytes, this.names.start[place], this.names.end[place]);
  }

  /** Lays components on the stack so that the first of them is on top. */
  #push(pending: number, parts: PathParts, count: number): number {
    if (pending + count > this.#pendingStart.length) throw new TreeError('NAME_TOO_LONG', 'path through links too long');
    for (let i = count - 1; i >= 0; i--, pending++) {
      this.#pendingStart[pending] = parts.start[i] ?? 0;
      this.#pendingEnd[pending] = parts.end[i] ?? 0;
    }
    return pending;
  }

  #follow(link: number): void {
    const start = this.inodes.linkStart[link] ?? 0;
    const end = this.inodes.linkEnd[link] ?? 0;
    this.#budget.spend(end - start);
    this.#target.parse(this.bytes, start, end);
  }

  /** Where the target just parsed starts from, for a link that stands in `directory`. */
  #startOf(directory: number): number {
    const { ups, isAbsolute } = this.#target;
    if (isAbsolute) return 0;
    let start = directory;
    for (let i = 0; i < ups && start !== 0; i++) start = this.inodes.parent[start] ?? 0;
    return start;
  }

  #imply(directory: number, start: number, end: number): number {
    const place = this.names.place(directory, start, end);
    if (this.names.inodeAt(place) !== NONE) this.unlink(place);
    const inode = this.inodes.add(IMPLIED_MODE);
    this.inodes.setFlag(inode, INODE_FLAG.implied | INODE_FLAG.bornImplied);
    // mkdir(2) in a set-group-ID directory takes its group.
    if (((this.inodes.mode[directory] ?? 0) & SET_GROUP_ID) !== 0) this.inodes.gid[inode] = this.inodes.gid[directory] ?? 0;
    this.link(place, inode);
    return inode;
  }
}
