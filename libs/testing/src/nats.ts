import { connect } from 'node:net';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { Child, waitFor } from './child.ts';

export interface NatsOptions {
  /** nats-server.conf. It says where the server listens. */
  readonly configPath: string;
  /** Where it listens, on the loopback. */
  readonly port: number;
  readonly logPath: string;
}

const PROGRAM = '/usr/sbin/nats-server';
const READY = 'Server is ready';
const RELOADED = 'Reloaded server configuration';

/** A real nats-server with a configuration of the test's. */
export class Nats implements AsyncDisposable {
  readonly #options: NatsOptions;
  #child: Child;

  private constructor(options: NatsOptions, child: Child) {
    this.#options = options;
    this.#child = child;
  }

  static async start(options: NatsOptions): Promise<Nats> {
    return new Nats(options, await launch(options));
  }

  get url(): string {
    return `tls://127.0.0.1:${this.#options.port}`;
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Away at once, as by a crash. What it knew of clients is gone. */
  async killHard(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#child.exited();
  }

  /** After it was killed. */
  async startAgain(): Promise<void> {
    this.#child = await launch(this.#options);
  }

  /** Reads its configuration again, as `nats-server --signal reload` makes it. */
  async reload(): Promise<void> {
    const before = await this.#count(RELOADED);
    this.#child.kill('SIGHUP');
    await waitFor(async () => (await this.#count(RELOADED)) > before, { timeoutMs: 5_000, what: 'nats-server to read its configuration' });
  }

  async log(): Promise<string> {
    return await readFile(this.#options.logPath, 'utf8');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#child.stop();
  }

  async #count(text: string): Promise<number> {
    return (await this.log()).split(text).length - 1;
  }
}

async function launch({ configPath, port, logPath }: NatsOptions): Promise<Child> {
  const child = new Child(PROGRAM, ['-c', configPath], { logPath });
  return await child.ready(async () => (await readFile(logPath, 'utf8')).includes(READY) && (await accepts(port)));
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(1_000) });
    return true;
  } finally {
    socket.destroy();
  }
}
