import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Child } from '@soci/testing';
import { EXEC_TIMEOUT_MS, type Container, type ContainerSpec } from './container.ts';

const run = promisify(execFile);

/** A container whose life is that of a process that we start. */
export abstract class ChildContainer implements Container {
  readonly name: string;
  protected readonly spec: ContainerSpec;
  #child: Child | undefined;

  constructor(spec: ContainerSpec) {
    this.spec = spec;
    this.name = spec.name;
  }

  abstract start(): Promise<void>;
  abstract execCommand(command: readonly string[]): readonly [string, ...string[]];

  get isRunning(): boolean {
    return this.#child?.isRunning ?? false;
  }

  get exitCode(): number | null {
    return this.#child?.exitCode ?? null;
  }

  logTail(): Promise<string> {
    return this.started.logTail();
  }

  kill(signal: NodeJS.Signals): void {
    this.started.kill(signal);
  }

  exited(timeoutMs?: number): Promise<number> {
    return this.started.exited(timeoutMs);
  }

  async exec(command: readonly string[], timeoutMs = EXEC_TIMEOUT_MS): Promise<void> {
    const [program, ...args] = this.execCommand(command);
    await run(program, args, { timeout: timeoutMs });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child?.stop();
  }

  protected get started(): Child {
    if (this.#child === undefined) throw new Error(`${this.name} was not started`);
    return this.#child;
  }

  /** In place of one that has ended. */
  protected startChild(program: string, args: readonly string[]): void {
    this.#child = new Child(program, args, { logPath: this.spec.logPath });
  }
}
