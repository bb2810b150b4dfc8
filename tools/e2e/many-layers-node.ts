import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Containerd, Cri, DelayLine, Snapshotter, type Registry } from '@soci/testing';
import { startManyLayersRegistry, manyLayersNames, type ManyLayers } from './many-layers.ts';
import { mountsBelow } from './mounts.ts';
import { LOGIN, program } from './stack.ts';

const ONE_WAY_MS = 12.5;
const BITS_PER_SECOND = 200e6;

export interface ManyLayersNodeOptions {
  readonly many: ManyLayers;
  /** An empty folder. */
  readonly directory: string;
  /** Lines of config.toml. */
  readonly config?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Of another snapshotter than ours. */
  readonly command?: readonly [string, ...string[]];
}

/** A node with empty stores, and a registry with many layers at the far end of a long line. */
export class ManyLayersNode implements AsyncDisposable {
  readonly registry: Registry;
  readonly snapshotter: Snapshotter;
  readonly containerd: Containerd;
  readonly cri: Cri;
  readonly references: readonly string[];
  readonly #directory: string;
  readonly #resources: AsyncDisposableStack;

  private constructor(
    parts: Pick<ManyLayersNode, 'registry' | 'snapshotter' | 'containerd' | 'cri' | 'references'>,
    directory: string,
    resources: AsyncDisposableStack,
  ) {
    this.registry = parts.registry;
    this.snapshotter = parts.snapshotter;
    this.containerd = parts.containerd;
    this.cri = parts.cri;
    this.references = parts.references;
    this.#directory = directory;
    this.#resources = resources;
  }

  static async start({ many, directory, config = '', env, command }: ManyLayersNodeOptions): Promise<ManyLayersNode> {
    await using resources = new AsyncDisposableStack();
    const folder = async (name: string): Promise<string> => {
      await mkdir(join(directory, name));
      return join(directory, name);
    };
    const registry = resources.use(await startManyLayersRegistry(many, await folder('registry')));
    const [targetHost = '', port] = registry.host.split(':');
    const line = resources.use(
      await DelayLine.start({ targetHost, targetPort: Number(port), oneWayMs: ONE_WAY_MS, bitsPerSecond: BITS_PER_SECOND }),
    );
    const snapshotter = resources.use(
      await Snapshotter.start({
        directory: await folder('snapshotter'),
        command: command ?? [program('agent', 'soci-snapshotter-grpc')],
        config,
        logins: { [line.host]: `${LOGIN.username}:${LOGIN.password}` },
        logLevel: 'info',
        ...(env && { env }),
      }),
    );
    const containerd = resources.use(
      await Containerd.start({ directory: await folder('containerd'), snapshotterAddress: snapshotter.address }),
    );
    const cri = resources.use(new Cri(containerd.address));
    const references = manyLayersNames(many).map((name) => `${line.host}/${name}`);
    return new ManyLayersNode({ registry, snapshotter, containerd, cri, references }, directory, resources.move());
  }

  /** State root of the snapshotter. */
  get root(): string {
    return join(this.#directory, 'snapshotter', 'soci');
  }

  async pull(reference: string): Promise<void> {
    await this.cri.pullImage(reference, LOGIN);
  }

  /** Removes every image with its snapshots. */
  async removeAll(): Promise<void> {
    const names = (await this.containerd.ctr(['images', 'ls', '-q'])).split('\n').filter((name) => name !== '');
    await this.containerd.ctr(['images', 'rm', '--sync', ...names]);
  }

  /** Mount points of lazily mounted layers, and how many FUSE mounts there are. */
  async mounts(): Promise<{ readonly layers: readonly string[]; readonly fuse: number }> {
    const mounts = await mountsBelow(this.#directory);
    return {
      layers: mounts.filter(({ type }) => type === 'erofs').map(({ target }) => target),
      fuse: mounts.filter(({ type }) => type === 'fuse').length,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}
