import { stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isNotFound } from '@soci/errors';
import { ok, problem, warning, type Check } from './check.ts';

const OTHERS = 0o077;
const MEBIBYTE = 1 << 20;
const FEW_MEBIBYTES = 2_048;
const TOO_FEW_MEBIBYTES = 256;

/** By the numbers of statfs(2); those that a root cannot be on, or should not. */
const BAD_FILE_SYSTEMS: ReadonlyMap<number, readonly [name: string, outcome: typeof problem, why: string]> = new Map([
  [0x794c7630, ['overlay', problem, 'no overlay can be mounted on it']],
  [0x6969, ['nfs', problem, 'no overlay can be mounted on it']],
  [0x65735546, ['fuse', problem, 'no overlay can be mounted on it']],
  [0x01021994, ['tmpfs', warning, 'everything is fetched again after a boot, and takes memory']],
]);

/** The state folder: whose it is, and what it is on. */
export const rootFolder: Check = {
  name: 'root',
  run: async (context, signal) => {
    const root = await context.serviceRoot(signal);
    const { path, isMissing } = await existing(root);
    const { type } = await statfs(path);
    const bad = BAD_FILE_SYSTEMS.get(type);
    if (bad !== undefined) return bad[1](`${root} is on ${bad[0]}: ${bad[2]}`, 'put --root on ext4 or xfs');
    if (isMissing) return ok(`${root} is not there yet; the service makes it`);
    const { mode, uid } = await stat(root);
    if (uid !== 0) return warning(`${root} belongs to user ${uid}`, `chown root: ${root}`);
    if ((mode & OTHERS) !== 0) return warning(`${root} is open to others (mode ${(mode & 0o7777).toString(8)})`, `chmod 700 ${root}`);
    return ok(`${root}, mode ${(mode & 0o7777).toString(8)}`);
  },
};

export const disk: Check = {
  name: 'disk',
  run: async (context, signal) => {
    const root = await context.serviceRoot(signal);
    const { bavail, blocks, bsize, ffree, files } = await statfs((await existing(root)).path);
    const free = Math.floor((bavail * bsize) / MEBIBYTE);
    const text = `${free} MiB of ${Math.floor((blocks * bsize) / MEBIBYTE)} MiB are free below ${root}`;
    if (free < TOO_FEW_MEBIBYTES)
      return problem(text, 'remove images that are not used, or grow the disk; reads of what is not fetched yet fail with EIO');
    if (files > 0 && ffree === 0) return problem(`no inodes are free below ${root}`, 'remove images that are not used');
    if (free < FEW_MEBIBYTES) return warning(text, 'remove images that are not used, or grow the disk');
    return ok(text);
  },
};

/** The folder, or the nearest one above it that is there. */
async function existing(root: string): Promise<{ readonly path: string; readonly isMissing: boolean }> {
  for (let path = root; ; path = dirname(path)) {
    try {
      await stat(path);
      return { path, isMissing: path !== root };
    } catch (error) {
      if (!isNotFound(error) || path === dirname(path)) throw error;
    }
  }
}
