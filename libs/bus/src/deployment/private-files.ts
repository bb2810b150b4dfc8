import { chmod, chown, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isNotFound } from '@soci/errors';

/** Whose a folder is: numbers of a user and a group. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

const FILE_MODE = 0o600;

/** A folder of files that nobody but its owner may read. */
export class PrivateFolder {
  readonly path: string;
  readonly #owner: Owner | undefined;

  private constructor(path: string, owner: Owner | undefined) {
    this.path = path;
    this.#owner = owner;
  }

  static async make(path: string, owner?: Owner, mode = 0o700): Promise<PrivateFolder> {
    await mkdir(path, { recursive: true, mode });
    await chmod(path, mode); // also where it was there before
    if (owner !== undefined) await chown(path, owner.uid, owner.gid);
    return new PrivateFolder(path, owner);
  }

  at(name: string): string {
    return join(this.path, name);
  }

  /** Whoever reads it sees the old file or the new one, whole. */
  async write(name: string, content: string | Uint8Array): Promise<void> {
    const draft = this.at(`.${name}.new`);
    await rm(draft, { force: true });
    {
      // By its descriptor: whoever owns the folder could put another file in its place.
      await using file = await open(draft, 'wx', FILE_MODE);
      await file.writeFile(content);
      if (this.#owner !== undefined) await file.chown(this.#owner.uid, this.#owner.gid);
      await file.sync();
    }
    await rename(draft, this.at(name));
  }

  /** @returns whether there was such a file */
  async rename(from: string, to: string): Promise<boolean> {
    try {
      await stat(this.at(from));
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
    await rename(this.at(from), this.at(to));
    return true;
  }
}
