import { connect } from 'node:net';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Child, waitFor } from './child.ts';
import { keptProcesses, MARK, type KeptProcesses } from './kept-processes.ts';

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
const STOP_MS = 10_000;
const POLL_MS = 5;

/**
 * A snapshotter as systemd would start it: flags of the reference, a HOME of its own. It is two processes, a keeper and its service, which start each other
 * again when they are killed: neither need be the one that was started here.
 */
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
      env: { HOME: this.home, DOCKER_CONFIG: undefined, DOCKER_AUTH_CONFIG: undefined, ...env, [MARK]: directory },
    });
    this.#child = await child.ready(() => answers(this.address), READY_MS);
  }

  /** The process that was started here; it may have been killed since, and others live. */
  get pid(): number {
    return this.#running.pid;
  }

  /** Those that live now. */
  processes(): KeptProcesses {
    return keptProcesses(this.#options.directory);
  }

  /** Signals the keeper, as systemd does; it passes most signals on. */
  kill(signal: NodeJS.Signals): void {
    send(this.processes().keepers, signal);
  }

  /** Signals the service alone: its keeper starts it again when it was not told to stop. */
  killService(signal: NodeJS.Signals): void {
    send(this.processes().services, signal);
  }

  /** Kills everything, so that nobody starts anybody again. Resolves when all are gone: the mount is dead by then, and the socket closed. */
  async killAll(): Promise<void> {
    const isGone = async (): Promise<boolean> => {
      const { services, keepers } = this.processes();
      send([...services, ...keepers], 'SIGKILL'); // in one go
      return services.length + keepers.length === 0 && !(await answers(this.address));
    };
    await waitFor(isGone, { timeoutMs: STOP_MS, intervalMs: POLL_MS, what: 'a killed snapshotter to be gone' });
  }

  /** Waits until no process of it is left. @returns milliseconds waited */
  async exited(timeoutMs = STOP_MS): Promise<number> {
    const begin = performance.now();
    const isGone = (): boolean => {
      const { services, keepers } = this.processes();
      return services.length + keepers.length === 0;
    };
    await waitFor(isGone, { timeoutMs, intervalMs: POLL_MS, what: 'the snapshotter to end' });
    return performance.now() - begin;
  }

  /** SIGTERM, and SIGKILL where that does not help in time. */
  async stop(): Promise<void> {
    this.kill('SIGTERM');
    await this.exited().catch(() => this.killAll());
    await this.#child?.stop(); // a wrapper
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  get #running(): Child {
    if (this.#child === undefined) throw new Error('the snapshotter was not started');
    return this.#child;
  }
}

function send(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // it went by itself
    }
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
