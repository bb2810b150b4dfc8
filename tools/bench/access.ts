import { execFile, execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const SMALL_FILE_BLOCKS = 16; // find's unit: 512 bytes, rounded up
const RANDOM_READS = 5_000;

/** Names below a mounted image, relative to it, in files that the access program reads. */
export interface NameLists {
  readonly all: string;
  /** Regular files of at most 8 KiB. */
  readonly small: string;
  readonly entries: number;
}

/** Figures of one pass over a mounted image, caches dropped before each cold one. Times in microseconds an operation, but for `listing` in seconds; rates in MB/s. */
export interface AccessFigures {
  readonly stat: number;
  readonly stat4: number;
  readonly listing: number;
  readonly small: number;
  readonly small4: number;
  readonly smallWarm: number;
  readonly sequential: number;
  readonly random: number;
}

/** Compiles the access program. @returns its path */
export async function compileAccess(directory: string): Promise<string> {
  const program = join(directory, 'access');
  await run('gcc', ['-O2', '-pthread', '-o', program, join(import.meta.dirname, 'access.c')]);
  return program;
}

export async function listNames(root: string, directory: string): Promise<NameLists> {
  const find = async (name: string, condition: readonly string[]): Promise<readonly [path: string, lines: number]> => {
    const { stdout } = await run('find', [root, '-xdev', '-mindepth', '1', ...condition, '-printf', '%P\\n'], {
      maxBuffer: 256 << 20,
      encoding: 'latin1',
    });
    const path = join(directory, name);
    await writeFile(path, stdout, 'latin1');
    return [path, stdout.split('\n').length - 1];
  };
  const [all, entries] = await find('names', []);
  const [small] = await find('small-names', ['-type', 'f', '-size', `-${SMALL_FILE_BLOCKS + 1}`]);
  return { all, small, entries };
}

/** @param largeFile path below `root` of a file of at least 100 MB */
export async function measureAccess(program: string, root: string, names: NameLists, largeFile: string): Promise<AccessFigures> {
  const access = async (...args: readonly string[]): Promise<Record<string, number>> =>
    JSON.parse((await run(program, args)).stdout) as Record<string, number>;
  const time = async (...args: readonly string[]): Promise<number> => (await access(...args)).microseconds ?? Number.NaN;
  dropCaches();
  const stat = await time('stat', root, names.all, '1');
  dropCaches();
  const stat4 = await time('stat', root, names.all, '4');
  dropCaches();
  const begin = performance.now();
  await run('sh', ['-c', 'ls -lR "$1" > /dev/null', 'sh', root]);
  const listing = (performance.now() - begin) / 1_000;
  dropCaches();
  const small = await time('read', root, names.small, '1');
  dropCaches();
  const small4 = await time('read', root, names.small, '4');
  const smallWarm = await time('read', root, names.small, '1');
  dropCaches();
  const sequential = (await access('sequential', root, largeFile)).megabytesPerSecond ?? Number.NaN;
  dropCaches();
  const random = await time('random', root, largeFile, String(RANDOM_READS));
  return { stat, stat4, listing, small, small4, smallWarm, sequential, random };
}

/** Drops the page, name and inode caches of this machine. */
export function dropCaches(): void {
  execFileSync('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}
