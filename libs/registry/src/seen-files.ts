import { constants } from 'node:fs';
import { open, opendir, stat } from 'node:fs/promises';
import { describeError, isNotFound } from '@soci/errors';
import { fileVersion, readBounded } from '@soci/keychain';
import { RegistryError } from './errors.ts';

const MAX_NAMES = 1024;
const ABSENT = 'absent';

/** Files and folders that something was made from, each in the version that was read. What is not there counts, too: it may come. */
export class SeenFiles {
  readonly #versions = new Map<string, string>();

  /** Whether all is as it was when it was read. */
  async isUnchanged(): Promise<boolean> {
    for (const [path, version] of this.#versions) if ((await versionAt(path)) !== version) return false;
    return true;
  }

  /** @throws {RegistryError} `HOSTS_INVALID` when it cannot be told */
  async exists(path: string): Promise<boolean> {
    try {
      const version = fileVersion(await stat(path, { bigint: true }));
      this.#versions.set(path, version);
      return true;
    } catch (cause) {
      this.#versions.set(path, ABSENT);
      if (isNotFound(cause)) return false;
      throw unusable(path, cause);
    }
  }

  /** The text of a regular file; undefined when there is none. @throws {RegistryError} `HOSTS_INVALID` when it is too long or not readable */
  async read(path: string, maxBytes: number): Promise<string | undefined> {
    try {
      await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK); // a pipe in its place must not hold us
      const stats = await handle.stat({ bigint: true });
      this.#versions.set(path, fileVersion(stats));
      if (!stats.isFile()) throw new Error('not a regular file');
      if (stats.size > BigInt(maxBytes)) throw new Error(`longer than ${maxBytes} bytes`);
      return await readBounded(handle, maxBytes);
    } catch (cause) {
      if (!this.#versions.has(path)) this.#versions.set(path, ABSENT);
      if (isNotFound(cause)) return undefined;
      throw unusable(path, cause);
    }
  }

  /** Names of the files in a folder, sorted. @throws {RegistryError} `HOSTS_INVALID` */
  async list(path: string): Promise<readonly string[]> {
    const names: string[] = [];
    try {
      this.#versions.set(path, fileVersion(await stat(path, { bigint: true })));
      for await (const item of await opendir(path)) {
        if (names.length >= MAX_NAMES) throw new Error(`more than ${MAX_NAMES} files`);
        if (!item.isDirectory()) names.push(item.name);
      }
    } catch (cause) {
      throw unusable(path, cause);
    }
    return names.sort();
  }
}

function unusable(path: string, cause: unknown): RegistryError {
  return new RegistryError('HOSTS_INVALID', `${path} cannot be used: ${describeError(cause)}`);
}

async function versionAt(path: string): Promise<string> {
  try {
    return fileVersion(await stat(path, { bigint: true }));
  } catch {
    return ABSENT; // whoever reads it will say why
  }
}
