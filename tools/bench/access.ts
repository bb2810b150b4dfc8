import { execFile, execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** 8 KiB in find's unit, 512 bytes rounded up. */
const SMALL_FILE_BLOCKS = 16;
const RANDOM_READS = 5_000;

/** A mounted image, and what is read of it. */
export interface View {
  readonly root: string;
  /** Files with names below `root`, one a line, in the order in which the mount lists them: all of them, and regular files of at most 8 KiB. */
  readonly names: string;
  readonly smallNames: string;
  readonly entries: number;
  /** Below `root`, at least 150 MB. */
  readonly largeFile: string;
}

/** Times accesses by a small program in C: a runtime between the clock and the system call would hide what is measured. */
export class Access {
  readonly #program: string;

  private constructor(program: string) {
    this.#program = program;
  }

  static async compile(directory: string): Promise<Access> {
    const program = join(directory, 'access');
    await run('gcc', ['-O2', '-pthread', '-o', program, join(import.meta.dirname, 'access.c')]);
    return new Access(program);
  }

  /** @returns microseconds an entry */
  stat({ root, names }: View, threads: number): Promise<number> {
    return this.#time('stat', root, names, String(threads));
  }

  /** Opens, reads and closes every small file. @returns microseconds a file */
  readSmall({ root, smallNames }: View, threads: number): Promise<number> {
    return this.#time('read', root, smallNames, String(threads));
  }

  /** @returns MB/s of the large file from its start to its end */
  async readSequentially({ root, largeFile }: View): Promise<number> {
    return (await this.#run('sequential', root, largeFile)).megabytesPerSecond ?? Number.NaN;
  }

  /** @returns microseconds a read of 4 KiB somewhere in the large file */
  readRandomly({ root, largeFile }: View): Promise<number> {
    return this.#time('random', root, largeFile, String(RANDOM_READS));
  }

  /** @returns seconds of `ls -lR` */
  async list({ root }: View): Promise<number> {
    const begin = performance.now();
    await run('sh', ['-c', 'ls -lR "$1" > /dev/null', 'sh', root]);
    return (performance.now() - begin) / 1_000;
  }

  async #time(...args: readonly string[]): Promise<number> {
    return (await this.#run(...args)).microseconds ?? Number.NaN;
  }

  async #run(...args: readonly string[]): Promise<Readonly<Record<string, number>>> {
    return JSON.parse((await run(this.#program, args)).stdout) as Record<string, number>;
  }
}

/** @param directory where the lists of names go */
export async function describeView(root: string, largeFile: string, directory: string): Promise<View> {
  const list = async (name: string, condition: readonly string[]): Promise<{ readonly path: string; readonly count: number }> => {
    const options = { maxBuffer: 256 << 20, encoding: 'latin1' } as const;
    const { stdout } = await run('find', [root, '-xdev', '-mindepth', '1', ...condition, '-printf', '%P\\n'], options);
    const path = join(directory, name);
    await writeFile(path, stdout, 'latin1');
    return { path, count: stdout.split('\n').length - 1 };
  };
  const all = await list('names', []);
  const small = await list('small-names', ['-type', 'f', '-size', `-${SMALL_FILE_BLOCKS + 1}`]);
  return { root, names: all.path, smallNames: small.path, entries: all.count, largeFile };
}

/** Drops the page, name and inode caches of this machine. */
export function dropCaches(): void {
  execFileSync('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}
