import { renameSync } from 'node:fs';
import { chmod, lchown, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';

/** Modes as containerd's overlayfs gives them: `fs` becomes the root directory of a container. */
const MODES = { snapshots: 0o700, snapshot: 0o700, fs: 0o755, work: 0o711 } as const;
const UNFINISHED_PREFIX = 'new-';

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** A directory that has no snapshot yet. */
export interface UnfinishedDirectory {
  /** Renames it to `snapshots/<id>`. Synchronous: it is part of the transaction that makes the snapshot. */
  placeAs(id: number): void;
  /** Removes it, placed or not. */
  discard(): Promise<void>;
  /** From now on it belongs to its snapshot. */
  keep(): void;
}

/**
 * The directories of snapshots: `<root>/snapshots/<id>/fs` and, where it can be written to, `.../work`.
 * None of its calls goes into an `fs` that may be a mount.
 */
export class SnapshotDirectories {
  readonly path: string;
  readonly #unfinished = new Set<string>();

  private constructor(path: string) {
    this.path = path;
  }

  static async open(root: string): Promise<SnapshotDirectories> {
    const directories = new SnapshotDirectories(join(root, 'snapshots'));
    await makeDirectory(directories.path, MODES.snapshots);
    return directories;
  }

  pathOf(id: number): string {
    return join(this.path, String(id));
  }

  /** What the snapshot adds: an upper directory, a lower directory, or the place where its layer is mounted. */
  fsPathOf(id: number): string {
    return join(this.path, String(id), 'fs');
  }

  workPathOf(id: number): string {
    return join(this.path, String(id), 'work');
  }

  async create(kind: 'active' | 'view', owner: Owner | undefined): Promise<UnfinishedDirectory> {
    let path = await mkdtemp(join(this.path, UNFINISHED_PREFIX));
    const name = basename(path);
    this.#unfinished.add(name);
    const discard = async (): Promise<void> => {
      await rm(path, { recursive: true, force: true });
      this.#unfinished.delete(name);
    };
    try {
      await fill(path, kind, owner);
    } catch (cause) {
      await discard();
      throw cause;
    }
    return {
      placeAs: (id) => {
        renameSync(path, this.pathOf(id));
        path = this.pathOf(id);
      },
      discard,
      keep: () => void this.#unfinished.delete(name),
    };
  }

  /** Makes what is missing of a snapshot's directories. */
  async ensure(id: number): Promise<void> {
    await makeDirectory(this.pathOf(id), MODES.snapshot);
    await makeDirectory(this.fsPathOf(id), MODES.fs);
  }

  /** Names in `snapshots` that could be left over: everything but directories that are being made at this moment. */
  async names(): Promise<readonly string[]> {
    const names = await readdir(this.path);
    return names.filter((name) => !this.#unfinished.has(name));
  }
}

/** The id in the name of a snapshot's directory; undefined for any other name. */
export function idOfDirectory(name: string): number | undefined {
  return /^[1-9][0-9]{0,15}$/.test(name) ? Number(name) : undefined;
}

async function fill(path: string, kind: 'active' | 'view', owner: Owner | undefined): Promise<void> {
  const fs = join(path, 'fs');
  await makeDirectory(fs, MODES.fs);
  if (owner !== undefined) await lchown(fs, owner.uid, owner.gid);
  if (kind === 'active') await makeDirectory(join(path, 'work'), MODES.work);
}

/** With exactly this mode when it is new, whatever the umask. */
async function makeDirectory(path: string, mode: number): Promise<void> {
  if ((await mkdir(path, { recursive: true, mode })) !== undefined) await chmod(path, mode);
}
