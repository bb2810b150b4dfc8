import { randomBytes } from 'node:crypto';
import { chmod, link, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isNotFound, hasCode } from '@soci/errors';

/** Of a blob that stays until somebody deletes it. */
export const BLOB_MODE = 0o444;
/** Of a copy that can be fetched again. The mark is the file's own, so it cannot be lost, and it goes when the file is replaced. */
export const CACHED_MODE = 0o440;

const RELEASED = /^released-(?<algorithm>[a-z0-9]+)-(?<hex>[0-9a-f]+)-[0-9a-f]+$/;
/** A release takes moments; what is older was left by a process that was killed. */
const ABANDONED_AFTER_MS = 60_000;

/** Makes a blob one that stays. @returns false when there is none */
export async function keepBlob(path: string): Promise<boolean> {
  try {
    if (isCached((await stat(path)).mode)) await chmod(path, BLOB_MODE);
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

/**
 * Deletes a blob if it is cached. It is moved aside first and looked at then: of those who want to keep it meanwhile, some still found it, and it is put back; the others
 * find none, and write their own.
 * @param aside the folder it is moved to, on the same file system
 * @returns whether it is gone
 */
export async function releaseBlob(path: string, { algorithm, hex }: { algorithm: string; hex: string }, aside: string): Promise<boolean> {
  const moved = join(aside, `released-${algorithm}-${hex}-${randomBytes(8).toString('hex')}`);
  try {
    if (!isCached((await stat(path)).mode)) return false;
    await rename(path, moved);
  } catch (error) {
    if (isNotFound(error)) return true;
    throw error;
  }
  return await finishRelease(path, moved);
}

/** Ends the releases that a killed process began. @param pathOf where the blob was */
export async function finishReleases(aside: string, pathOf: (digest: string) => string): Promise<void> {
  for (const name of await readdir(aside)) {
    const { algorithm, hex } = RELEASED.exec(name)?.groups ?? {};
    if (algorithm === undefined || hex === undefined) continue;
    try {
      const { ctimeMs } = await stat(join(aside, name));
      if (Date.now() - ctimeMs > ABANDONED_AFTER_MS) await finishRelease(pathOf(`${algorithm}:${hex}`), join(aside, name));
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}

/** Puts a file in its place unless there is one; the name it had is gone afterwards. */
export async function placeNew(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  }
  await rm(from, { force: true });
}

async function finishRelease(path: string, moved: string): Promise<boolean> {
  const isUnwanted = isCached((await stat(moved)).mode);
  if (isUnwanted) await rm(moved, { force: true });
  else await placeNew(moved, path);
  return isUnwanted;
}

function isCached(mode: number): boolean {
  return (mode & 0o777) === CACHED_MODE;
}
