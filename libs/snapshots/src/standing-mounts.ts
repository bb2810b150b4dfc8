import type { LayerNames } from '@soci/layer';
import type { MountInfo } from '@soci/linux';
import type { LayerMounts, MountSource } from './layer-mounts.ts';

export interface StandingMountsOptions {
  readonly mounts: Pick<LayerMounts, 'below' | 'clear' | 'unmount'>;
  /** The service's state root: what is mounted for layers is below it. */
  readonly root: string;
  /** The FUSE mount that goes on; undefined when it is a new one, or none: then whatever was mounted from an earlier one is dead. */
  readonly fuse: { readonly mountPoint: string; namesPath(slot: number): string } | undefined;
}

interface Standing {
  readonly mount: MountInfo;
  /** Made after the FUSE mount: one made before it may stand on an earlier FUSE mount that had the same names. */
  readonly isOfThisFuse: boolean;
}

/** The mounts of layers that an earlier process left, until each of them is taken over or taken away. */
export class StandingMounts {
  readonly #options: StandingMountsOptions;
  /** By directory, in the order in which they were made. */
  readonly #at = new Map<string, Standing[]>();

  private constructor(options: StandingMountsOptions) {
    this.#options = options;
  }

  /** @param snapshots where the directories of snapshots are, below `root` */
  static async read(options: StandingMountsOptions, snapshots: string): Promise<StandingMounts> {
    const standing = new StandingMounts(options);
    const { mounts, root, fuse } = options;
    let isOfThisFuse = false;
    for (const mount of await mounts.below(root)) {
      const { mountPoint } = mount;
      if (mountPoint === fuse?.mountPoint) isOfThisFuse = true;
      if (!mountPoint.startsWith(`${snapshots}/`)) continue;
      const there = standing.#at.get(mountPoint);
      if (there === undefined) standing.#at.set(mountPoint, [{ mount, isOfThisFuse }]);
      else there.push({ mount, isOfThisFuse });
    }
    return standing;
  }

  get count(): number {
    return this.#at.size;
  }

  /** How these names are mounted on a directory by a mount that can go on; undefined when they are not. */
  kindAt(directory: string, names: LayerNames): MountSource['kind'] | undefined {
    const standing = this.#at.get(directory);
    const [only] = standing ?? [];
    if (only === undefined || standing?.length !== 1 || only.mount.type !== 'erofs') return undefined;
    if (only.mount.source === names.path) return 'files';
    return only.isOfThisFuse && only.mount.source === this.#options.fuse?.namesPath(names.slot) ? 'fuse' : undefined;
  }

  /** The mount on a directory goes on: from now on it is the caller's. */
  adopt(directory: string): void {
    this.#at.delete(directory);
  }

  /** Takes away what stands on a directory, if anything does. */
  async replace(directory: string): Promise<void> {
    if (this.#at.delete(directory)) await this.#options.mounts.unmount(directory);
  }

  /** Takes away, without waiting for their users, all mounts but those on these directories. */
  async keepOnly(directories: ReadonlySet<string>): Promise<void> {
    const others = [...this.#at].filter(([directory]) => !directories.has(directory));
    for (const [directory] of others) this.#at.delete(directory);
    await this.#options.mounts.clear(others.flatMap(([, standing]) => standing.map(({ mount }) => mount)));
  }
}
