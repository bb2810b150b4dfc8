import { execFile } from 'node:child_process';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Child } from './child.ts';
import { freePort } from './ports.ts';
import { loggedRequests, type LoggedRequest } from './registry-log.ts';
import type { TokenServer } from './token-server.ts';

const run = promisify(execFile);

export interface RegistryOptions {
  /** Where blobs, configuration and log go. */
  readonly directory: string;
  /** Asked of everybody by HTTP Basic, where given. */
  readonly login?: { readonly username: string; readonly password: string };
  /** More of them: name to password. */
  readonly logins?: Readonly<Record<string, string>>;
  /** Whose tokens are asked of everybody, where given; then nobody logs in here. */
  readonly tokens?: TokenServer;
  /** Writes a longer log, from which `requests` can tell who asked. */
  readonly logUsers?: boolean;
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

  static async start({ directory, login, logins = {}, tokens, logUsers = false }: RegistryOptions): Promise<Registry> {
    await mkdir(join(directory, 'data'), { recursive: true });
    const registry = new Registry(directory, `127.0.0.1:${await freePort()}`);
    const all = { ...logins, ...(login === undefined ? {} : { [login.username]: login.password }) };
    const isPrivate = Object.keys(all).length > 0;
    if (isPrivate) await registry.setLogins(all);
    const basic = isPrivate ? { auth: { htpasswd: { realm: 'test', path: registry.#passwords } } } : {};
    const config = {
      version: '0.1',
      log: { level: logUsers ? 'debug' : 'info', formatter: 'json', accesslog: { disabled: false } },
      storage: { filesystem: { rootdirectory: join(directory, 'data') }, delete: { enabled: true } },
      http: { addr: registry.host },
      ...(tokens === undefined ? basic : { auth: { token: tokenAuth(tokens) } }),
    };
    await writeFile(join(directory, 'config.yml'), JSON.stringify(config)); // YAML takes JSON
    await registry.startAgain();
    return registry;
  }

  async startAgain(): Promise<void> {
    const child = new Child('docker-registry', ['serve', join(this.#directory, 'config.yml')], { logPath: this.#log });
    this.#child = await child.ready(async () => (await fetch(`http://${this.host}/v2/`)).status > 0);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.#child?.kill(signal);
    await this.#child?.exited();
  }

  /** Replaces who may log in: name to password. The registry looks at its password file at every login. */
  async setLogins(logins: Readonly<Record<string, string>>): Promise<void> {
    const next = `${this.#passwords}.next`;
    await writeFile(next, '');
    for (const [username, password] of Object.entries(logins)) await run('htpasswd', ['-Bb', '-C', '5', next, username, password]);
    await rename(next, this.#passwords);
  }

  /** What the access log says was served since the start of the log. */
  async served(): Promise<Served> {
    let requests = 0;
    let bytes = 0;
    for (const [, method, , size] of (await readFile(this.#log, 'utf8')).matchAll(/"(GET|HEAD) [^ ]+ HTTP\/1\.1" (\d+) (\d+)/g)) {
      requests++;
      if (method === 'GET') bytes += Number(size);
    }
    return { requests, bytes };
  }

  /** What was asked since the start of the log; and as whom, where `logUsers` was given. */
  async requests(): Promise<readonly LoggedRequest[]> {
    return loggedRequests(await readFile(this.#log, 'utf8'));
  }

  get #log(): string {
    return join(this.#directory, 'registry.log');
  }

  get #passwords(): string {
    return join(this.#directory, 'htpasswd');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child?.stop();
  }
}

function tokenAuth({ realm, service, issuer, certificatePath }: TokenServer): Readonly<Record<string, string>> {
  return { realm, service, issuer, rootcertbundle: certificatePath };
}
