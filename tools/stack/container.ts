import { execFile } from 'node:child_process';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { Child } from '@soci/testing';

const run = promisify(execFile);
const ENTER = join(import.meta.dirname, 'enter.sh');

export interface Mount {
  /** Of this machine; a `tmpfs` has none. */
  readonly source?: string;
  /** In the container. */
  readonly target: string;
  readonly isReadOnly?: boolean;
  /** Of a tmpfs: `mode=0700,uid=10001`. */
  readonly options?: string;
}

export interface ContainerSpec {
  readonly name: string;
  /** Where its mounts are prepared; a file system in memory, as it must not be the one that it shows. */
  readonly directory: string;
  readonly logPath: string;
  readonly command: readonly [string, ...string[]];
  /** All of its environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly mounts: readonly Mount[];
  /** `uid:gid`; root where left out. */
  readonly user?: string | undefined;
  /** Keeps every right that this process has. */
  readonly isPrivileged?: boolean;
  /** Capabilities that it has when it is not privileged: `CHOWN`. */
  readonly capabilities?: readonly string[];
}

const HEALTH_TIMEOUT_MS = 10_000;

/** A process that has what a container would have: its own mounts over a view of this machine's files, its user, its capabilities, its environment. It shares processes and network with the others. */
export class Container implements AsyncDisposable {
  readonly name: string;
  readonly #spec: ContainerSpec;
  #child: Child | undefined;

  constructor(spec: ContainerSpec) {
    this.#spec = spec;
    this.name = spec.name;
  }

  async start(): Promise<void> {
    const { directory, mounts, command, env, logPath } = this.#spec;
    const lines = [];
    for (const mount of mounts) {
      await makePlace(join(directory, 'skeleton', mount.target), mount.source);
      lines.push(mountLine(mount));
    }
    for (const folder of ['proc', 'sys', 'dev']) await mkdir(join(directory, 'skeleton', folder), { recursive: true });
    await writeFile(join(directory, 'mounts'), lines.join(''));
    const args = ['--mount', '--propagation', 'private', ENTER, directory, this.#rights(), 'env', '-i', ...assignments(env), ...command];
    this.#child = new Child('unshare', args, { logPath });
  }

  get isRunning(): boolean {
    return this.#child?.isRunning ?? false;
  }

  get exitCode(): number | null {
    return this.#child?.exitCode ?? null;
  }

  /** The end of what it printed, for whoever has to be told why it does not run. */
  logTail(): Promise<string> {
    return this.#started.logTail();
  }

  kill(signal: NodeJS.Signals): void {
    this.#started.kill(signal);
  }

  /** @returns milliseconds until its process was gone */
  exited(timeoutMs?: number): Promise<number> {
    return this.#started.exited(timeoutMs);
  }

  /** Runs a program with the rights and mounts that the container's own process has. @returns its standard output */
  async exec(command: readonly string[], timeoutMs = HEALTH_TIMEOUT_MS): Promise<string> {
    const args = ['--target', String(this.#started.pid), '--mount', '--', 'setpriv', ...this.#rights().split(' '), '--'];
    const { stdout } = await run('nsenter', [...args, 'env', '-i', ...assignments(this.#spec.env), ...command], { timeout: timeoutMs });
    return stdout;
  }

  /** How to run a program within it for callers that read its output as it comes. */
  execCommand(command: readonly string[]): readonly [string, ...string[]] {
    return ['nsenter', '--target', String(this.#started.pid), '--mount', '--', 'env', '-i', ...assignments(this.#spec.env), ...command];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child?.stop();
  }

  /** Options of setpriv. */
  #rights(): string {
    const { user = '0:0', isPrivileged = false, capabilities = [] } = this.#spec;
    const [uid = '0', gid = uid] = user.split(':');
    if (isPrivileged) return `--reuid=${uid} --regid=${gid} --clear-groups`;
    const kept = ['-all', ...capabilities.map((name) => `+${name.toLowerCase()}`)].join(',');
    return `--reuid=${uid} --regid=${gid} --clear-groups --inh-caps=${kept} --bounding-set=${kept} --no-new-privs`;
  }

  get #started(): Child {
    if (this.#child === undefined) throw new Error(`${this.name} was not started`);
    return this.#child;
  }
}

/** Somewhere to mount upon: a file for a file, a folder for the rest. */
async function makePlace(path: string, source: string | undefined): Promise<void> {
  if (source !== undefined && !(await stat(source)).isDirectory()) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, '');
  } else await mkdir(path, { recursive: true });
}

function mountLine({ source, target, isReadOnly = false, options = '' }: Mount): string {
  return source === undefined ? `tmpfs - ${target} ${options}\n` : `bind ${source} ${target} ${isReadOnly ? 'ro' : 'rw'}\n`;
}

function assignments(env: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(env).map(([name, value]) => `${name}=${value}`);
}
