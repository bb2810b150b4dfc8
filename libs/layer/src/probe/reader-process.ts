import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { workerUrl } from '../worker-url.ts';

/** A process that reads files for this one, and may be killed while it does. */
export class ReaderProcess implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;
  readonly #exited: Promise<unknown>;

  constructor() {
    this.#child = spawn(process.execPath, [fileURLToPath(workerUrl('probe-reader', import.meta.url))], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: {},
    });
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#exited = new Promise((resolve) => {
      this.#child.once('exit', resolve);
      this.#child.once('error', resolve);
    });
    this.#child.stdin.on('error', () => undefined); // it ended; `read` notices by the signal, or is not called any more
  }

  /** Reads a file there. @returns the SHA-256 of what is in it, or the name of the errno */
  async read(path: string, signal: AbortSignal): Promise<string> {
    const answer = once(this.#lines, 'line', { signal });
    this.#child.stdin.write(`${path}\n`);
    const [line] = (await answer) as [string];
    return line;
  }

  /** Starts to read a file and does not wait. */
  startReading(path: string): void {
    this.#child.stdin.write(`${path}\n`);
  }

  /** Kills it in the middle of whatever it reads. @returns whether it was gone within that time */
  async kill(withinMs: number): Promise<boolean> {
    this.#child.kill('SIGKILL');
    const { promise: late, resolve } = Promise.withResolvers<'late'>();
    const timer = setTimeout(() => resolve('late'), withinMs);
    try {
      return (await Promise.race([this.#exited, late])) !== 'late';
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lines.close();
    this.#child.kill('SIGKILL');
    await this.#exited;
  }
}
