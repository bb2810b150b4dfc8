import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FOLDERS } from '../many-layers.ts';

const READERS = 3;
const PAUSE_MS = 5;

/**
 * Reads what is on the node already, a file of one layer after the other, each file once: neither a registry nor the page cache has a part in it.
 * What a layer has in files fits into one span, which the first read of all fetches.
 */
export class LayerReaders implements AsyncDisposable {
  readonly #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();
  #longestMs = 0;
  #reads = 0;

  /** @param mounts where layers are mounted @param first number of the first file of each that is read @param count how many there are */
  static async start(mounts: readonly string[], first: number, count: number): Promise<LayerReaders> {
    const readers = new LayerReaders();
    const roots: string[] = [];
    for (const mount of mounts) {
      const [only = ''] = await readdir(mount);
      roots.push(join(mount, only));
      await readFile(fileOf(join(mount, only), first));
    }
    const left = Array.from({ length: count - 1 }, (_, i) => roots.map((root) => fileOf(root, first + i + 1)))
      .flat()
      .values();
    readers.#running = Promise.all(Array.from({ length: READERS }, () => readers.#read(left)));
    readers.#running.catch(() => undefined); // told by `finish`
    return readers;
  }

  /** @returns how many reads there were, and the longest of them in milliseconds @throws when one failed */
  async finish(): Promise<{ readonly reads: number; readonly longestMs: number }> {
    this.#stop.abort();
    await this.#running;
    return { reads: this.#reads, longestMs: this.#longestMs };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running.catch(() => undefined);
  }

  async #read(paths: Iterator<string, undefined>): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const next: IteratorResult<string, undefined> = paths.next();
      if (next.done === true) throw new Error('everything is read: the readers need more files');
      const begin = performance.now();
      await readFile(next.value);
      this.#longestMs = Math.max(this.#longestMs, performance.now() - begin);
      this.#reads++;
      await sleep(PAUSE_MS);
    }
  }
}

function fileOf(root: string, file: number): string {
  return join(root, `d${file % FOLDERS}`, `file-${file}`);
}
