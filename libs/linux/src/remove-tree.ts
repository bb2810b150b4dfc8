import { randomUUID } from 'node:crypto';
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, renameSync, rmdirSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { hasCode, isNotFound } from '@soci/errors';
import { LinuxError } from './linux-error.ts';
import { mountsUnder, readMountInfo } from './mountinfo.ts';

/** Beyond this depth a directory is first moved up to the top of the tree: descriptors are few, and a container may nest as deep as it likes. */
const MAX_DEPTH = 256;
const OPEN_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * Removes a file or a directory tree. Never crosses a mount: refuses before anything is deleted when something is mounted at `path` or below it,
 * and again at each directory that turns out to be on another filesystem. Symbolic links are removed, never followed, and are not followed either
 * when one takes a directory's place meanwhile. A path that is not there is no error. Blocks.
 *
 * @throws {LinuxError} `EBUSY` for a mount
 */
export function removeTreeNow(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  refuseMounts(path);
  if (!stat.isDirectory()) {
    removeIfThere(() => unlinkSync(path));
    return;
  }
  if (stat.dev !== lstatSync(dirname(path)).dev) throw busy(path);
  const top = openSync(path, OPEN_DIRECTORY);
  try {
    if (fstatSync(top).dev !== stat.dev) throw busy(path);
    emptyDirectory({ top, device: stat.dev, path, moved: 0 }, top, 0);
  } finally {
    closeSync(top);
  }
  removeIfThere(() => rmdirSync(path));
}

interface Removal {
  /** Descriptor of the directory that is being removed. */
  readonly top: number;
  readonly device: number;
  readonly path: string;
  /** How many deep directories were moved up. */
  moved: number;
}

/** Paths go through the descriptor of the directory: no path gets too long, and no link that is put in the way is followed. */
function emptyDirectory(removal: Removal, directory: number, depth: number): void {
  const prefix = Buffer.from(`/proc/self/fd/${directory}/`);
  let emptied = false;
  while (!emptied) {
    const movedBefore = removal.moved;
    for (const entry of readdirSync(prefix, { encoding: 'buffer', withFileTypes: true })) {
      const child = Buffer.concat([prefix, entry.name]);
      if (entry.isDirectory()) removeDirectory(removal, child, depth);
      else removeIfThere(() => unlinkSync(child));
    }
    emptied = directory !== removal.top || removal.moved === movedBefore; // what was moved up lies in the top directory now
  }
}

function removeDirectory(removal: Removal, child: Buffer, depth: number): void {
  if (depth >= MAX_DEPTH) {
    renameSync(child, `/proc/self/fd/${removal.top}/.moved-up-${randomUUID()}`);
    removal.moved++;
    return;
  }
  const descriptor = openIfDirectory(child);
  if (descriptor === undefined) {
    removeIfThere(() => unlinkSync(child));
    return;
  }
  try {
    if (fstatSync(descriptor).dev !== removal.device) throw busy(removal.path);
    emptyDirectory(removal, descriptor, depth + 1);
  } finally {
    closeSync(descriptor);
  }
  removeIfThere(() => rmdirSync(child));
}

function openIfDirectory(path: Buffer): number | undefined {
  try {
    return openSync(path, OPEN_DIRECTORY);
  } catch (error) {
    if (isNotFound(error) || hasCode(error, 'ENOTDIR', 'ELOOP')) return undefined;
    throw error;
  }
}

function refuseMounts(path: string): void {
  const [mount] = mountsUnder(path, readMountInfo());
  if (mount !== undefined) throw busy(mount.mountPoint);
}

function busy(path: string): LinuxError {
  return new LinuxError('EBUSY', `remove ${path}: it is a mount`);
}

function removeIfThere(remove: () => void): void {
  try {
    remove();
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}
