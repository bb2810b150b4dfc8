import { execFile } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { mountsUnder, readMountInfo } from '@soci/linux';
import { Containerd, Cri, Snapshotter } from '@soci/testing';
import { LOGIN, mountView, program, unmountView } from '../e2e/stack.ts';
import type { Peers } from './context.ts';

const run = promisify(execFile);

/** Starts a program whose flags end in `--log-level debug` as it runs in production: the last flag holds. */
const AT_INFO_LEVEL = 'exec "$0" "$@" --log-level info';

/** A way to bring an image onto a node. */
export interface Competitor {
  readonly name: 'ours' | 'overlayfs' | 'go';
  /** Start of the snapshotter; left out where containerd's own overlayfs is meant. */
  readonly command?: readonly [string, ...string[]];
}

export const OURS: Competitor = { name: 'ours', command: [program('agent', 'soci-snapshotter-grpc')] };
export const OVERLAYFS: Competitor = { name: 'overlayfs' };

/** The Go snapshotter, where it is given. */
export function goCompetitor({ snapshotter }: Peers): readonly Competitor[] {
  return snapshotter === undefined ? [] : [{ name: 'go', command: [snapshotter] }];
}

export interface BenchNodeOptions {
  /** Everything of the node; removed with it. */
  readonly directory: string;
  /** `host:port` of the registry as this node sees it. */
  readonly registryHost: string;
  readonly peers: Peers;
  /** Lines of config.toml of the snapshotter. */
  readonly config?: string;
}

/** A node with empty stores: containerd, and the snapshotter of a competitor. */
export class BenchNode implements AsyncDisposable {
  readonly competitor: Competitor;
  readonly containerd: Containerd;
  readonly cri: Cri;
  readonly #snapshotter: Snapshotter | undefined;
  readonly #directory: string;
  readonly #resources: AsyncDisposableStack;

  private constructor(
    parts: { readonly competitor: Competitor; readonly containerd: Containerd; readonly cri: Cri; readonly directory: string },
    snapshotter: Snapshotter | undefined,
    resources: AsyncDisposableStack,
  ) {
    this.competitor = parts.competitor;
    this.containerd = parts.containerd;
    this.cri = parts.cri;
    this.#directory = parts.directory;
    this.#snapshotter = snapshotter;
    this.#resources = resources;
  }

  static async start(competitor: Competitor, { directory, registryHost, peers, config = '' }: BenchNodeOptions): Promise<BenchNode> {
    await using resources = new AsyncDisposableStack();
    resources.defer(() => removeWithMounts(directory));
    const containerdFolder = join(directory, 'containerd');
    const snapshotterFolder = join(directory, 'snapshotter');
    for (const folder of [containerdFolder, snapshotterFolder]) await mkdir(folder, { recursive: true });
    const contentStore = `[content_store]\ntype = "containerd"\ncontainerd_address = "${join(containerdFolder, 'containerd.sock')}"\n`;
    const snapshotter =
      competitor.command &&
      resources.use(
        await Snapshotter.start({
          directory: snapshotterFolder,
          command: ['/bin/sh', '-c', AT_INFO_LEVEL, ...competitor.command],
          config: `${config}\n${competitor.name === 'go' ? contentStore : ''}`,
          logins: { [registryHost]: `${LOGIN.username}:${LOGIN.password}` },
        }),
      );
    const containerd = resources.use(
      await Containerd.start({
        directory: containerdFolder,
        ...(snapshotter === undefined ? {} : { snapshotterAddress: snapshotter.address }),
        ...(peers.containerd === undefined ? {} : { binaries: peers.containerd }),
      }),
    );
    const cri = resources.use(new Cri(containerd.address));
    return new BenchNode({ competitor, containerd, cri, directory }, snapshotter, resources.move());
  }

  get snapshotterName(): 'soci' | 'overlayfs' {
    return this.#snapshotter === undefined ? 'overlayfs' : 'soci';
  }

  /** Of the lazily mounted layers on this node: what each is mounted from. */
  get layerSources(): readonly string[] {
    return mountsUnder(this.#directory, readMountInfo())
      .filter(({ type }) => type === 'erofs')
      .map(({ source }) => source);
  }

  /** Folder of the mount that serves lazy layers. */
  get fuseFolder(): string {
    const mount = mountsUnder(this.#directory, readMountInfo()).find(({ type }) => type.startsWith('fuse'));
    if (mount === undefined) throw new Error('the snapshotter has no FUSE mount: the reason is in its log');
    return mount.mountPoint;
  }

  async pull(reference: string): Promise<void> {
    await this.cri.pullImage(reference, LOGIN);
  }

  /** Mounts the image that was pulled, read-only. @returns where */
  async view(): Promise<string> {
    const target = join(this.#directory, 'view');
    await mkdir(target, { recursive: true });
    await mountView(this.containerd, this.snapshotterName, target);
    return target;
  }

  async unview(target: string): Promise<void> {
    await unmountView(this.containerd, this.snapshotterName, target);
  }

  async restartSnapshotter(): Promise<void> {
    await this.#snapshotter?.stop();
    await this.#snapshotter?.startAgain();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

/** The mounts of a snapshotter outlive it. */
async function removeWithMounts(directory: string): Promise<void> {
  for (const { mountPoint } of mountsUnder(directory, readMountInfo())) await run('umount', ['--lazy', mountPoint]);
  await rm(directory, { recursive: true, force: true });
}
