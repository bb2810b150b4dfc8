import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { once } from 'node:events';

export interface ChildOptions {
  /** Where standard output and error go; appended to. */
  readonly logPath: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
}

const STOP_MS = 10_000;

/** A daemon of a test stack: a child of this process, its output in a file, ended with it. */
export class Child implements AsyncDisposable {
  readonly name: string;
  readonly logPath: string;
  readonly #process: ChildProcess;

  constructor(command: string, args: readonly string[], { logPath, env, cwd }: ChildOptions) {
    this.name = command.slice(command.lastIndexOf('/') + 1);
    this.logPath = logPath;
    const log = openSync(logPath, 'a');
    this.#process = spawn(command, args, {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...env },
      ...(cwd === undefined ? {} : { cwd }),
    });
    closeSync(log);
    this.#process.on('error', () => undefined); // an `exit` never comes then: `ready` reports it by the missing pid
  }

  get pid(): number {
    if (this.#process.pid === undefined) throw new Error(`${this.name} could not be started`);
    return this.#process.pid;
  }

  get isRunning(): boolean {
    return this.#process.pid !== undefined && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  get exitCode(): number | null {
    return this.#process.exitCode;
  }

  /** Waits until `check` holds. @throws when the process ends first or `timeoutMs` pass; the message holds the end of the log */
  async ready(check: () => Promise<boolean> | boolean, timeoutMs = 15_000): Promise<this> {
    await waitFor(check, { timeoutMs, what: `${this.name} to be ready`, giveUp: () => !this.isRunning }).catch(async (cause: unknown) => {
      throw new Error(`${this.name} did not become ready:\n${await this.logTail()}`, { cause });
    });
    return this;
  }

  async logTail(bytes = 3_000): Promise<string> {
    return (await readFile(this.logPath, 'utf8').catch(() => '(no log)')).slice(-bytes);
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** Waits for the end. @returns milliseconds waited */
  async exited(timeoutMs = STOP_MS): Promise<number> {
    const begin = performance.now();
    if (this.isRunning) await once(this.#process, 'exit', { signal: AbortSignal.timeout(timeoutMs) });
    return performance.now() - begin;
  }

  /** SIGTERM, and SIGKILL where that does not help in time. */
  async stop(): Promise<void> {
    if (!this.isRunning) return;
    this.kill('SIGTERM');
    try {
      await this.exited();
    } catch {
      this.kill('SIGKILL');
      await this.exited();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

export interface WaitOptions {
  readonly timeoutMs: number;
  /** For the error's text: `waited 5000 ms for <what>`. */
  readonly what: string;
  readonly intervalMs?: number;
  readonly giveUp?: () => boolean;
}

/** Polls a condition of another process. A check that throws counts as not yet. */
export async function waitFor(
  check: () => Promise<boolean> | boolean,
  { timeoutMs, what, intervalMs = 20, giveUp }: WaitOptions,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      if (await check()) return;
    } catch (error) {
      last = error;
    }
    if (giveUp?.() === true) throw new Error(`gave up waiting for ${what}`, { cause: last });
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}
