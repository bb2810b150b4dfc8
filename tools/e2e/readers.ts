import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { waitFor } from '@soci/testing';
import type { ReadImage } from './read-image.ts';
import type { Stack } from './stack.ts';

/** How one container fared. */
export interface ReaderResult {
  readonly way: string;
  /** Times that all was read, with the right digest. */
  readonly passes: number;
  readonly reads: number;
  /** The longest reads, the longest first: milliseconds, and when they began, in seconds since the epoch. */
  readonly stalls: readonly (readonly [number, number])[];
  readonly isOver: boolean;
  readonly error: string | null;
}

export interface ReadersOptions {
  readonly image: ReadImage;
  readonly reference: string;
  /** How long a container takes for all of its data: the first time it is not on the node. */
  readonly passSeconds: number;
}

const BEGIN_MS = 60_000;
const LAST_PASS_MS = 120_000;
/** An image of a test has no Python: containers run that of the host. */
const HOST_FOLDERS = ['/usr', '/lib', '/lib64'].filter((folder) => existsSync(folder));
const bind = (from: string, to: string, how: string): string => `type=bind,src=${from},dst=${to},options=rbind:${how}`;

/** Containers that read, one for each way of reading. Each stamps its reads itself. */
export class Readers implements AsyncDisposable {
  readonly #stack: Stack;
  readonly #options: ReadersOptions;
  readonly #folder: string;

  private constructor(stack: Stack, options: ReadersOptions) {
    this.#stack = stack;
    this.#options = options;
    this.#folder = join(stack.directory, 'readers');
  }

  /** Resolves when all of them read. */
  static async start(stack: Stack, options: ReadersOptions): Promise<Readers> {
    const readers = new Readers(stack, options);
    await mkdir(readers.#folder);
    await copyFile(join(import.meta.dirname, 'reader.py'), join(readers.#folder, 'reader.py'));
    for (const { way, path, digest } of options.image.ways) {
      const mounts = [...HOST_FOLDERS.map((folder) => bind(folder, folder, 'ro')), bind(readers.#folder, '/out', 'rw')];
      const flags = ['--detach', '--null-io', '--snapshotter', 'soci', ...mounts.flatMap((mount) => ['--mount', mount])];
      const command = ['/usr/bin/python3', '/out/reader.py', way, path, digest, String(options.passSeconds), '/out'];
      await stack.containerd.ctr(['run', ...flags, options.reference, `reader-${way}`, ...command]);
    }
    const begun = async (): Promise<boolean> => (await readers.results()).every(({ reads }) => reads > 0);
    await waitFor(begun, { timeoutMs: BEGIN_MS, what: 'containers to read' });
    return readers;
  }

  /** How they fare, as of a second ago at most. */
  async results(): Promise<readonly ReaderResult[]> {
    const read = async (way: string): Promise<ReaderResult> => ({
      way,
      ...(JSON.parse(await readFile(join(this.#folder, `${way}.json`), 'utf8')) as Omit<ReaderResult, 'way'>),
    });
    return await Promise.all(this.#options.image.ways.map(({ way }) => read(way)));
  }

  /** Lets each read to the end of its data. @throws when one does not come to that: its process is dead, or it waits for ever */
  async finish(): Promise<readonly ReaderResult[]> {
    await writeFile(join(this.#folder, 'stop'), '');
    const isOver = async (): Promise<boolean> => (await this.results()).every((result) => result.isOver);
    await waitFor(isOver, { timeoutMs: LAST_PASS_MS, what: 'containers to end' }).catch(async (cause: unknown) => {
      throw new Error(`not all containers ended: ${JSON.stringify(await this.results())}`, { cause });
    });
    return await this.results();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { containerd } = this.#stack;
    for (const { way } of this.#options.image.ways) {
      await containerd.ctr(['tasks', 'rm', '--force', `reader-${way}`]).catch(() => undefined); // it may never have begun
      await containerd.ctr(['containers', 'rm', `reader-${way}`]).catch(() => undefined);
    }
  }
}
