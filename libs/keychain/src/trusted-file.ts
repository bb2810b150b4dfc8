import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { fileVersion, readBounded } from './read-bounded.ts';

export interface TrustedFile {
  /** Changes whenever the file does, also when it is replaced by renaming. */
  readonly version: string;
  /** Permission bits. */
  readonly mode: number;
  /** Undefined when the version is the one the caller knows already. */
  readonly text: string | undefined;
}

/** Why the file must not be used at all, as opposed to not being there or not readable. */
export class UntrustedFileError extends Error {
  override readonly name = 'UntrustedFileError';
}

const WRITABLE_BY_OTHERS = 0o022;

/**
 * Reads a small file that holds secrets, unless it is the version known already. It is opened once and judged by its descriptor.
 *
 * @param owners user ids that may own it; whoever owns it can write it
 * @throws {UntrustedFileError} when others than these can write it
 */
export async function readTrustedFile(
  path: string,
  {
    knownVersion,
    maxBytes,
    owners,
  }: { readonly knownVersion: string | undefined; readonly maxBytes: number; readonly owners: readonly number[] },
  signal: AbortSignal,
): Promise<TrustedFile> {
  signal.throwIfAborted();
  // A pipe in the file's place must not hold us.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const status = await file.stat({ bigint: true });
  if (!status.isFile()) throw new Error('not a regular file');
  const mode = Number(status.mode & 0o7777n);
  refuseOthers(Number(status.uid), mode, owners);
  if (status.size > BigInt(maxBytes)) throw new Error(`longer than ${maxBytes} bytes`);
  const version = fileVersion(status);
  if (version === knownVersion) return { version, mode, text: undefined };
  const text = await readBounded(file, maxBytes);
  signal.throwIfAborted();
  return { version, mode, text };
}

/**
 * Makes sure that what is at a path, a program or a folder of programs, is as others than the owners cannot change it.
 *
 * @throws {UntrustedFileError}; what `stat` throws; an error when it is of another kind
 */
export async function requireTrusted(path: string, kind: 'folder' | 'program', owners: readonly number[]): Promise<void> {
  const status = await stat(path);
  if (kind === 'folder' ? !status.isDirectory() : !status.isFile())
    throw new Error(`not a ${kind === 'folder' ? 'folder' : 'regular file'}`);
  refuseOthers(status.uid, status.mode & 0o7777, owners);
}

function refuseOthers(owner: number, mode: number, owners: readonly number[]): void {
  if (!owners.includes(owner)) throw new UntrustedFileError(`owned by user ${owner}`);
  if ((mode & WRITABLE_BY_OTHERS) !== 0) throw new UntrustedFileError(`writable by others (mode ${mode.toString(8)})`);
}
