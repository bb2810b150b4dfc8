import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Child } from './child.ts';

export interface SnapshotterOptions {
  /** Root, socket, configuration and log go below. */
  readonly directory: string;
  /** Program and arguments before the flags, e.g. the start script of the agent. */
  readonly command: readonly [string, ...string[]];
  /** Text of config.toml. */
  readonly config?: string;
  /** Logins written to a Docker config that the service reads: host to `username:password`. */
  readonly logins?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly address?: string;
  /** `debug` by default. */
  readonly logLevel?: string;
}

const READY_MS = 20_000;

/** A snapshotter process as systemd would start it: flags of the reference, a HOME of its own. */
export class Snapshotter implements AsyncDisposable {
  readonly address: string;
  readonly logPath: string;
  readonly home: string;
  readonly #options: SnapshotterOptions;
  #child: Child | undefined;

  private constructor(options: SnapshotterOptions) {
    this.#options = options;
    this.address = options.address ?? join(options.directory, 'snapshotter.sock');
    this.logPath = join(options.directory, 'snapshotter.log');
    this.home = join(options.directory, 'home');
  }

  static async start(options: SnapshotterOptions): Promise<Snapshotter> {
    const snapshotter = new Snapshotter(options);
    await mkdir(join(snapshotter.home, '.docker'), { recursive: true });
    await writeFile(join(options.directory, 'config.toml'), options.config ?? '');
    if (options.logins !== undefined) await snapshotter.login(options.logins);
    await snapshotter.startAgain();
    return snapshotter;
  }

  /** Replaces the Docker config. */
  async login(logins: Readonly<Record<string, string>>): Promise<void> {
    const auths = Object.fromEntries(
      Object.entries(logins).map(([host, login]) => [host, { auth: Buffer.from(login).toString('base64') }]),
    );
    await writeFile(join(this.home, '.docker', 'config.json'), JSON.stringify({ auths }), { mode: 0o600 });
  }

  async startAgain(): Promise<void> {
    const { directory, command, env, logLevel = 'debug' } = this.#options;
    const [program, ...before] = command;
    const flags = [
      '--address',
      this.address,
      '--root',
      join(directory, 'soci'),
      '--config',
      join(directory, 'config.toml'),
      '--log-level',
      logLevel,
    ];
    const child = new Child(program, [...before, ...flags], {
      logPath: this.logPath,
      env: { HOME: this.home, DOCKER_CONFIG: undefined, DOCKER_AUTH_CONFIG: undefined, ...env },
    });
    this.#child = await child.ready(() => answers(this.address), READY_MS);
  }

  get pid(): number {
    return this.#running.pid;
  }

  kill(signal: NodeJS.Signals): void {
    this.#running.kill(signal);
  }

  /** Signals the service itself, the child of the launcher that this started; the launcher then ends as its child did. */
  killService(signal: NodeJS.Signals): void {
    const children = readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, 'utf8').trim().split(' ');
    for (const child of children) process.kill(Number(child), signal);
  }

  /** @returns milliseconds until the process was gone */
  exited(timeoutMs?: number): Promise<number> {
    return this.#running.exited(timeoutMs);
  }

  async stop(): Promise<void> {
    await this.#child?.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  get #running(): Child {
    if (this.#child === undefined) throw new Error('the snapshotter was not started');
    return this.#child;
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
