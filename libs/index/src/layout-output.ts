import { constants } from 'node:fs';
import { copyFile, lstat, mkdir, mkdtemp, open, readdir, rename, rmdir, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { hasCode } from '@soci/errors';
import { IndexError } from './errors.ts';
import { inParallel } from './in-parallel.ts';
import { LAYOUT_INDEX, LAYOUT_MARKER, type LayoutFile, type LayoutFiles } from './layout-source.ts';

const PARALLEL_COPIES = 2;
const COPY_BYTES = 4 << 20;

/** A place beside the output, on the same file system, so that what is made there can take its place. Removed with all that is left in it when disposed of. */
export interface Staging extends AsyncDisposable {
  /** An empty folder, with the mode that new folders get. */
  readonly folder: string;
  /** For what is replaced; not there yet. */
  readonly replaced: string;
}

export async function stageBeside(output: string): Promise<Staging> {
  const path = resolve(output);
  await mkdir(dirname(path), { recursive: true });
  return await stageIn(dirname(path), `.${basename(path)}.soci-`);
}

export async function stageIn(parent: string, prefix: string): Promise<Staging> {
  const base = await mkdtemp(join(parent, prefix));
  const folder = join(base, 'new');
  await mkdir(folder);
  return { folder, replaced: join(base, 'old'), [Symbol.asyncDispose]: () => removeTree(base) };
}

/**
 * Puts the files of a layout into a folder; those that are there already are left. Blocks are shared where the file system can do that, and copied where it cannot:
 * hard links would tie the user's two layouts together, down to modes and owners.
 */
export async function copyLayout(files: LayoutFiles, folder: string, signal: AbortSignal): Promise<void> {
  const folders = new Set([...files.keys()].map((name) => dirname(join(folder, name))));
  for (const path of folders) await mkdir(path, { recursive: true });
  const copy = async ([name, file]: readonly [string, LayoutFile]): Promise<void> => {
    const to = join(folder, name);
    if (file.whole) await copyWhole(file.path, to);
    else await copyRange(file, to, signal);
  };
  await inParallel([...files], PARALLEL_COPIES, copy, signal);
}

/**
 * Makes the staged folder be what `output` is. What was there may be nothing, an empty folder or a layout; anything else is refused.
 *
 * @throws {IndexError} `OUTPUT_REFUSED`
 */
export async function replaceLayout({ folder, replaced }: Staging, output: string): Promise<void> {
  const target = resolve(output);
  await checkReplaceable(target);
  const hadOld = await moveAway(target, replaced);
  try {
    await rename(folder, target);
  } catch (error) {
    if (hadOld) await rename(replaced, target);
    throw error;
  }
}

/** @throws {IndexError} `OUTPUT_REFUSED` when there is something that is neither empty nor a layout */
export async function checkReplaceable(output: string): Promise<void> {
  let names: readonly string[];
  try {
    names = await readdir(output);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    if (hasCode(error, 'ENOTDIR')) throw new IndexError('OUTPUT_REFUSED', `${output} is a file, not a folder`);
    throw error;
  }
  if (names.length > 0 && !names.includes(LAYOUT_MARKER) && !names.includes(LAYOUT_INDEX)) {
    throw new IndexError('OUTPUT_REFUSED', `${output} is neither empty nor an OCI image layout; it is not replaced`);
  }
}

/** Removes a folder and all that is in it, but nothing on another file system: it fails there, and that stays. */
async function removeTree(path: string): Promise<void> {
  const { dev } = await lstat(path);
  await removeFolder(path, dev);
}

async function moveAway(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (cause) {
    if (hasCode(cause, 'ENOENT')) return false;
    throw new IndexError('OUTPUT_REFUSED', `${from} cannot be replaced`, { cause }); // a mount point, for one
  }
}

async function removeFolder(path: string, device: number): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (!entry.isDirectory()) await unlink(child);
    else if ((await lstat(child)).dev === device) await removeFolder(child, device);
  }
  await rmdir(path);
}

async function copyWhole(from: string, to: string): Promise<void> {
  try {
    await copyFile(from, to, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  }
}

async function copyRange(file: LayoutFile, to: string, signal: AbortSignal): Promise<void> {
  await using source = await open(file.path, 'r');
  await using target = await open(to, 'w');
  const buffer = Buffer.alloc(Math.min(COPY_BYTES, Math.max(1, file.sizeBytes)));
  for (let done = 0; done < file.sizeBytes; ) {
    signal.throwIfAborted();
    const length = Math.min(buffer.length, file.sizeBytes - done);
    const { bytesRead } = await source.read(buffer, 0, length, file.offsetBytes + done);
    if (bytesRead === 0) throw new IndexError('LAYOUT_INVALID', `${file.path}: shorter than it was`);
    for (let written = 0; written < bytesRead; ) {
      written += (await target.write(buffer, written, bytesRead - written)).bytesWritten;
    }
    done += bytesRead;
  }
}
