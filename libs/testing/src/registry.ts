import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Child } from './child.ts';
import { freePort } from './ports.ts';

const run = promisify(execFile);

export interface RegistryOptions {
  /** Where blobs, configuration and log go. */
  readonly directory: string;
  /** Asked of everybody by HTTP Basic, where given. */
  readonly login?: { readonly username: string; readonly password: string };
}

export interface Served {
  readonly requests: number;
  /** Bytes of the bodies of answered GETs. */
  readonly bytes: number;
}

/** Debian's docker-registry on a loopback port, which it keeps over a restart. */
export class Registry implements AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  readonly #directory: string;
  #child: Child | undefined;

  private constructor(directory: string, host: string) {
    this.#directory = directory;
    this.host = host;
  }

  static async start({ directory, login }: RegistryOptions): Promise<Registry> {
    await mkdir(join(directory, 'data'), { recursive: true });
    const host = `127.0.0.1:${await freePort()}`;
    const passwords = join(directory, 'htpasswd');
    if (login !== undefined) await run('htpasswd', ['-Bbc', '-C', '5', passwords, login.username, login.password]);
    const config = {
      version: '0.1',
      log: { level: 'info', formatter: 'json', accesslog: { disabled: false } },
      storage: { filesystem: { rootdirectory: join(directory, 'data') }, delete: { enabled: true } },
      http: { addr: host },
      ...(login === undefined ? {} : { auth: { htpasswd: { realm: 'test', path: passwords } } }),
    };
    await writeFile(join(directory, 'config.yml'), JSON.stringify(config)); // YAML takes JSON
    const registry = new Registry(directory, host);
    await registry.startAgain();
    return registry;
  }

  async startAgain(): Promise<void> {
    const child = new Child('docker-registry', ['serve', join(this.#directory, 'config.yml')], {
      logPath: join(this.#directory, 'registry.log'),
    });
    this.#child = await child.ready(async () => (await fetch(`http://${this.host}/v2/`)).status > 0);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.#child?.kill(signal);
    await this.#child?.exited();
  }

  /** What the access log says was served since the start of the log. */
  async served(): Promise<Served> {
    let requests = 0;
    let bytes = 0;
    for (const [, method, , size] of (await readFile(join(this.#directory, 'registry.log'), 'utf8')).matchAll(
      /"(GET|HEAD) [^ ]+ HTTP\/1\.1" (\d+) (\d+)/g,
    )) {
      requests++;
      if (method === 'GET') bytes += Number(size);
    }
    return { requests, bytes };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child?.stop();
  }
}
