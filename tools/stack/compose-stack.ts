import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { describeError } from '@soci/errors';
import { waitFor } from '@soci/testing';
import { parseComposeFile, type ComposeFile, type ComposeService } from './compose-file.ts';
import type { Container, ContainerSpec, Mount } from './container.ts';
import { parseTarget, type ImageTarget } from './dockerfile.ts';
import { ProcessContainer } from './process-container.ts';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '..', '..');
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const HEALTHY_MS = 60_000;
const KEYS_MS = 60_000;

/** The program of each image that is not ours. */
const PROGRAMS: Readonly<Record<string, string>> = {
  nats: '/usr/sbin/nats-server',
  registry: '/usr/bin/docker-registry',
  prometheus: '/usr/bin/prometheus',
};

export interface StackOptions {
  /** Volumes and logs go below; on a disk that overlayfs and EROFS can stand on. */
  readonly directory: string;
  /** Names and what of those is on: services with a profile are left out otherwise. */
  readonly profiles?: readonly string[];
  /** For `${NAME}` in the compose file. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Makes the containers of this project's own images; as processes when left out, as all others. */
  readonly makeContainer?: (spec: ContainerSpec) => Container;
  /** Told of what happens, for people. */
  readonly onStep?: (text: string) => void;
}

/**
 * The stack of docker-compose.yml as processes: the same commands, configuration files, users, rights and mounts, each in a root of its own.
 * All share one network, in which the names of the services lead to the loopback address: that is written over /etc/hosts of this process's mount namespace, which therefore has to be its own.
 */
export class ComposeStack implements AsyncDisposable {
  readonly #file: ComposeFile;
  readonly #dockerfile: string;
  readonly #options: StackOptions;
  readonly #containers = new Map<string, Container>();
  readonly #resources = new AsyncDisposableStack();

  private constructor(file: ComposeFile, dockerfile: string, options: StackOptions) {
    this.#file = file;
    this.#dockerfile = dockerfile;
    this.#options = options;
  }

  /** Reads the files and makes what services depend on; starts none. */
  static async open(options: StackOptions): Promise<ComposeStack> {
    const file = parseComposeFile(await readFile(join(ROOT, 'docker-compose.yml'), 'utf8'), options.env ?? process.env);
    const dockerfile = await readFile(join(ROOT, 'deploy', 'Dockerfile'), 'utf8');
    const stack = new ComposeStack(file, dockerfile, options);
    await writeFile(stack.#hosts, `127.0.0.1 localhost ${[...file.services.keys()].join(' ')}\n`);
    await run('mount', ['--bind', stack.#hosts, '/etc/hosts']);
    for (const volume of file.volumes) await mkdir(stack.volume(volume), { recursive: true });
    await mkdir(join(options.directory, 'logs'), { recursive: true });
    return stack;
  }

  /** Services that run for as long as the stack does, in the order of the file. */
  get services(): readonly string[] {
    const { profiles = [] } = this.#options;
    return [...this.#file.services]
      .filter(
        ([name, service]) =>
          !this.#isOneShot(name) && (service.profiles.length === 0 || service.profiles.some((profile) => profiles.includes(profile))),
      )
      .map(([name]) => name);
  }

  /** The folder that a volume is. */
  volume(name: string): string {
    return join(this.#options.directory, 'volumes', name);
  }

  logPath(service: string): string {
    return join(this.#options.directory, 'logs', `${service}.log`);
  }

  /** A service that was started. */
  container(service: string): Container {
    const container = this.#containers.get(service);
    if (container === undefined) throw new Error(`${service} was not started`);
    return container;
  }

  /** Starts services, in this order and without waiting for one before the next; then waits until all are healthy. @throws when one ends or does not get healthy */
  async up(services: readonly string[] = this.services): Promise<void> {
    for (const name of this.#oneShots(services)) await this.#runOnce(name);
    for (const name of services) await this.start(name);
    await Promise.all(services.map((name) => this.healthy(name)));
  }

  /** Starts a service, also one that has ended. */
  async start(name: string): Promise<void> {
    this.#options.onStep?.(`starting ${name}`);
    const known = this.#containers.get(name);
    if (known !== undefined) {
      await known.start();
      return;
    }
    const container = this.#resources.use(this.#container(name));
    this.#containers.set(name, container);
    await container.start();
  }

  /** Waits until the service's own health check says yes. */
  async healthy(name: string, timeoutMs = HEALTHY_MS): Promise<void> {
    const container = this.container(name);
    const { healthcheck } = this.#service(name);
    if (healthcheck === undefined) return;
    let problem = '';
    const check = async (): Promise<boolean> => {
      try {
        await container.exec(healthcheck.command);
        return true;
      } catch (error) {
        problem = describeError(error);
        return false;
      }
    };
    await waitFor(check, { timeoutMs, what: `${name} to be healthy`, intervalMs: 200, giveUp: () => !container.isRunning }).catch(
      async (cause: unknown) => {
        throw new Error(`${name} is not healthy: ${problem}\n${await container.logTail()}`, { cause });
      },
    );
  }

  /** The last that was started is stopped first. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }

  /** Runs what other services need to be done before them. */
  async #runOnce(name: string): Promise<void> {
    this.#options.onStep?.(`running ${name}`);
    await using container = this.#container(name);
    await container.start();
    await container.exited(KEYS_MS);
    if (container.exitCode !== 0) throw new Error(`${name} failed:\n${await container.logTail()}`);
  }

  #container(name: string): Container {
    const service = this.#service(name);
    const target = service.build === undefined ? undefined : parseTarget(this.#dockerfile, service.build.target);
    const make = (target === undefined ? undefined : this.#options.makeContainer) ?? ((spec) => new ProcessContainer(spec));
    return make({
      name,
      image: service.image,
      logPath: this.logPath(name),
      command: commandOf(service, target),
      env: { PATH, ...target?.env, ...service.environment },
      mounts: [
        { source: this.#hosts, target: '/etc/hosts', isReadOnly: true },
        ...service.tmpfs.map((text) => toTmpfs(text)),
        ...service.volumes.map((text) => this.#toMount(text)),
      ],
      user: service.user ?? target?.user,
      isPrivileged: service.privileged,
      capabilities: service.cap_add,
    });
  }

  #toMount(text: string): Mount {
    const [, source = '', target = '', mode] = /^(.+?):(\/.*?)(?::(ro|rw))?$/.exec(text) ?? [];
    const isVolume = this.#file.volumes.includes(source);
    const path = isVolume ? this.volume(source) : resolve(ROOT, source);
    if (!existsSync(path)) throw new Error(`docker-compose.yml mounts ${source}, which is not there`);
    return { source: path, target, isReadOnly: mode === 'ro' };
  }

  #service(name: string): ComposeService {
    const service = this.#file.services.get(name);
    if (service === undefined) throw new Error(`docker-compose.yml has no service ${name}`);
    return service;
  }

  /** What is to have ended well before these are started. */
  #oneShots(services: readonly string[]): readonly string[] {
    const needed = services.flatMap((name) => Object.entries(this.#service(name).depends_on));
    return [...new Set(needed.filter(([, { condition }]) => condition === 'service_completed_successfully').map(([name]) => name))];
  }

  #isOneShot(name: string): boolean {
    return this.#oneShots([...this.#file.services.keys()]).includes(name);
  }

  get #hosts(): string {
    return join(this.#options.directory, 'hosts');
  }
}

function commandOf({ image, command }: ComposeService, target: ImageTarget | undefined): readonly [string, ...string[]] {
  const [program, ...args] = target?.entrypoint ?? [programOf(image)];
  if (program === undefined) throw new Error(`${image} has no entrypoint`);
  return [program, ...args, ...command];
}

function programOf(image: string): string {
  const [, name = ''] = /([^/:@]+)(?::[^/]*)?(?:@.*)?$/.exec(image.replace(/@.*/, '')) ?? [];
  const program = PROGRAMS[name];
  if (program === undefined || !existsSync(program))
    throw new Error(`${image} cannot be had without a container engine: its program is not installed`);
  return program;
}

/** `/tmp` or `/tmp:mode=1777`. */
function toTmpfs(text: string): Mount {
  const [target = '', options = 'mode=0755'] = text.split(':');
  return { target, options };
}
