import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describeError } from '@soci/errors';
import { parseReference } from '@soci/image';
import { Child, Containerd, Cri, FaultProxy, Registry, Snapshotter, type TokenServer, waitFor } from '@soci/testing';
import { pushLayout } from '../image/push.ts';
import { mountsBelow } from './mounts.ts';

const run = promisify(execFile);

export const ROOT = join(import.meta.dirname, '..', '..');
export const LOGIN = { username: 'alice', password: 'correct-horse' };

/** The agent, or the snapshotter and the registry-fetcher as two processes. */
export type Shape = 'agent' | 'split';

/** Folder of a containerd 2.x with its ctr and shim, where one is given; the installed containerd otherwise. */
const CONTAINERD_2 = process.env.SOCI_TEST_CONTAINERD;

/** The containerds that end-to-end tests run with: the installed one, and a given one. */
export const CONTAINERDS: readonly { readonly name: string; readonly binaries?: string }[] = [
  { name: 'the installed containerd' },
  ...(CONTAINERD_2 === undefined ? [] : [{ name: `containerd in ${CONTAINERD_2}`, binaries: CONTAINERD_2 }]),
];

/** How the user agents of our services begin: not that of containerd, nor of what pushes here. */
export const OUR_AGENT = 'soci-';

/** containerd waits a while before it connects again to a snapshotter that was away. */
const CONTAINERD_RECONNECT_MS = 15_000;

/** Where things of a stack are before it has started. */
export interface Place {
  readonly directory: string;
  /** containerd's socket. */
  readonly containerdAddress: string;
  /** Folder that is HOME for the snapshotter. */
  readonly home: string;
  /** `host:port` under which images are pulled. */
  readonly host: string;
}

export interface StackOptions {
  readonly shape?: Shape;
  /** Lines of config.toml. */
  readonly config?: string | ((place: Place) => string | Promise<string>);
  /** Who may log in to the registry beside `LOGIN`: name to password. Its log then tells who asked. */
  readonly logins?: Readonly<Record<string, string>>;
  /** Whose tokens the registry takes, in place of logins; `LOGIN` is to be one of its users. */
  readonly tokens?: TokenServer;
  /** Of the snapshotter; `debug` by default. */
  readonly logLevel?: string;
  /** More of the snapshotter's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly binaries?: string;
  /** For stacks that run pods. */
  readonly sandboxImage?: string;
  /** What the Docker config holds for the registry; the right login by default, nothing where null. */
  readonly dockerLogin?: string | null;
  /** Put before the agent's command. */
  readonly wrapper?: readonly string[];
  /** The agent's command, where it is not the one of this checkout. */
  readonly agent?: readonly [string, ...string[]];
}

/** A node and its registry: a private registry behind a proxy that can do harm, the snapshotter under test, containerd. */
export class Stack implements AsyncDisposable {
  readonly directory: string;
  readonly registry: Registry;
  readonly proxy: FaultProxy;
  readonly snapshotter: Snapshotter;
  readonly containerd: Containerd;
  readonly cri: Cri;
  readonly #resources: AsyncDisposableStack;

  private constructor(
    parts: Pick<Stack, 'directory' | 'registry' | 'proxy' | 'snapshotter' | 'containerd' | 'cri'>,
    resources: AsyncDisposableStack,
  ) {
    this.directory = parts.directory;
    this.registry = parts.registry;
    this.proxy = parts.proxy;
    this.snapshotter = parts.snapshotter;
    this.containerd = parts.containerd;
    this.cri = parts.cri;
    this.#resources = resources;
  }

  static async start({
    shape = 'agent',
    config = '',
    binaries,
    sandboxImage,
    dockerLogin = `${LOGIN.username}:${LOGIN.password}`,
    wrapper = [],
    agent = [program('agent', 'soci-snapshotter-grpc')],
    logins: more,
    tokens,
    logLevel,
    env,
  }: StackOptions = {}): Promise<Stack> {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    const users = more === undefined ? {} : { logins: more, logUsers: true };
    const asked = tokens === undefined ? { login: LOGIN, ...users } : { tokens };
    const registry = resources.use(await Registry.start({ directory: await folder(directory, 'registry'), ...asked }));
    const proxy = resources.use(await FaultProxy.start(registry.host));
    const logins = dockerLogin === null ? undefined : { [proxy.host]: dockerLogin };
    const snapshotter = resources.use(
      await startSnapshotter(
        {
          shape,
          directory: await folder(directory, 'snapshotter'),
          config: await configText(config, directory, proxy.host),
          logins,
          agent: [...wrapper, ...agent],
          logLevel,
          env,
        },
        resources,
      ),
    );
    const containerd = resources.use(
      await Containerd.start({
        directory: await folder(directory, 'containerd'),
        snapshotterAddress: snapshotter.address,
        ...(binaries === undefined ? {} : { binaries }),
        ...(sandboxImage === undefined ? {} : { sandboxImage }),
      }),
    );
    const cri = resources.use(new Cri(containerd.address));
    return new Stack({ directory, registry, proxy, snapshotter, containerd, cri }, resources.move());
  }

  /** Pushes a layout. @returns its reference through the proxy */
  async push(layout: string, name: string): Promise<string> {
    await pushLayout(layout, parseReference(`${this.registry.host}/${name}`), LOGIN);
    return `${this.proxy.host}/${name}`;
  }

  async pull(reference: string): Promise<void> {
    await this.cri.pullImage(reference, LOGIN);
  }

  /** Mounts the one image that was pulled, read-only, at a folder of the stack. @returns that folder */
  async view(name: string): Promise<string> {
    const target = await folder(this.directory, name);
    await mountView(this.containerd, 'soci', target);
    return target;
  }

  async unview(target: string): Promise<void> {
    await unmountView(this.containerd, 'soci', target);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

/** Which logins the snapshotter's own requests for a repository were let in with: a registry with `logins` has it in its log. */
export async function readers(registry: Registry, repository: string): Promise<readonly string[]> {
  const ours = (await registry.requests()).filter(
    ({ userAgent, path, status }) => userAgent.startsWith(OUR_AGENT) && path.startsWith(`/v2/${repository}/`) && status < 400,
  );
  return [...new Set(ours.map(({ user }) => user ?? 'nobody'))].toSorted();
}

/** An OCI layout with an index added by `soci convert`. @returns the folder of the converted layout */
export async function convert(layout: string, out: string, flags: readonly string[] = []): Promise<string> {
  await run(program('soci', 'soci'), ['--root', `${out}.root`, 'convert', '--standalone', '--format', 'oci-dir', ...flags, layout, out]);
  return out;
}

/**
 * Mounts the one image in a containerd's store read-only, by a view snapshot of its top layer. (`ctr images mount` of containerd 1.6 unpacks with another snapshotter than the one it is given.)
 */
export async function mountView(containerd: Containerd, snapshotter: string, target: string): Promise<void> {
  const ctr = (...args: readonly string[]): Promise<string> => containerd.ctr(['snapshots', '--snapshotter', snapshotter, ...args]);
  await waitFor(async () => (await ctr('ls')).length > 0, {
    timeoutMs: CONTAINERD_RECONNECT_MS,
    what: `containerd to reach ${snapshotter}`,
  });
  const rows = (await ctr('ls'))
    .split('\n')
    .slice(1)
    .map((row) => row.trim().split(/\s+/))
    .filter(([name = '']) => name.startsWith('sha256:'));
  const parents = new Set(rows.map(([, parent]) => parent));
  const tops = rows.map(([name = '']) => name).filter((name) => !parents.has(name));
  const [top] = tops;
  if (top === undefined || tops.length > 1) throw new Error(`expected the layers of one image, found ${tops.length} top layers`);
  // Between the two calls the garbage collector may take the view: then both are made again.
  await waitFor(
    async () => {
      await ctr('view', target, top).catch((error: unknown) => {
        if (!describeError(error).includes('already exists')) throw error;
      });
      await ctr('label', target, `containerd.io/gc.root=${new Date().toISOString()}`);
      return true;
    },
    { timeoutMs: CONTAINERD_RECONNECT_MS, what: `a view of ${top}` },
  );
  await run('sh', ['-euc', await ctr('mounts', target, target)]);
}

export async function unmountView(containerd: Containerd, snapshotter: string, target: string): Promise<void> {
  await run('umount', [target]);
  await containerd.ctr(['snapshots', '--snapshotter', snapshotter, 'rm', target]);
}

/** The start script of a program of this repository. */
export function program(app: string, name: string): string {
  return join(ROOT, 'apps', app, 'bin', name);
}

/** A folder on a disk that overlayfs and EROFS can stand on, removed with the resources. */
export async function scratchFolder(resources: AsyncDisposableStack): Promise<string> {
  await mkdir(join(ROOT, 'tmp'), { recursive: true });
  const directory = await mkdtemp(join(ROOT, 'tmp', 'e2e-'));
  resources.defer(async () => {
    for (const { target } of (await mountsBelow(directory)).toReversed()) await run('umount', ['-l', target]);
    await rm(directory, { recursive: true, force: true });
  });
  return directory;
}

async function folder(parent: string, name: string): Promise<string> {
  const path = join(parent, name);
  await mkdir(path, { recursive: true });
  return path;
}

interface ServiceOptions {
  readonly shape: Shape;
  readonly directory: string;
  readonly config: string;
  readonly logins: Readonly<Record<string, string>> | undefined;
  readonly agent: readonly string[];
  readonly logLevel: string | undefined;
  readonly env: Readonly<Record<string, string>> | undefined;
}

async function configText(config: string | ((place: Place) => string | Promise<string>), directory: string, host: string): Promise<string> {
  if (typeof config === 'string') return config;
  const containerdAddress = join(directory, 'containerd', 'containerd.sock');
  return await config({ directory, containerdAddress, home: join(directory, 'snapshotter', 'home'), host });
}

async function startSnapshotter(
  { shape, directory, config, logins, agent, logLevel, env = {} }: ServiceOptions,
  resources: AsyncDisposableStack,
): Promise<Snapshotter> {
  const common = { directory, env, ...(logins === undefined ? {} : { logins }), ...(logLevel === undefined ? {} : { logLevel }) };
  if (shape === 'agent') {
    const [command = '', ...args] = agent;
    return await Snapshotter.start({ ...common, config, command: [command, ...args] });
  }
  const address = join(directory, 'registry-fetcher.sock');
  const splitConfig = `${config}\n[registry_fetcher]\naddress = "${address}"\n`;
  const snapshotter = await Snapshotter.start({
    ...common,
    config: splitConfig,
    command: [program('snapshotter', 'soci-snapshotter')],
    env: { ...env, HOME: '/nonexistent' },
  });
  const fetcher = new Child(
    program('registry-fetcher', 'soci-registry-fetcher'),
    ['--config', join(directory, 'config.toml'), '--address', address, '--root', join(directory, 'fetcher'), '--log-level', 'debug'],
    {
      logPath: join(directory, 'registry-fetcher.log'),
      env: { HOME: snapshotter.home, DOCKER_CONFIG: undefined, DOCKER_AUTH_CONFIG: undefined },
    },
  );
  resources.use(fetcher);
  return snapshotter;
}
