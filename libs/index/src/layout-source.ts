import { createReadStream } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isDigest } from '@soci/image';
import { hasCode } from '@soci/errors';
import { IndexError } from './errors.ts';

/** One file of an OCI image layout: a range of a file on disk, which for a folder is the whole of it. */
export interface LayoutFile {
  readonly path: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  /** Whether the range is the whole file. */
  readonly whole: boolean;
}

/** The files of an OCI image layout by their names in it: `index.json`, `blobs/sha256/<hex>`. */
export type LayoutFiles = ReadonlyMap<string, LayoutFile>;

/** Above any layout on a disk; bounds what is kept in memory. */
export const MAX_LAYOUT_FILES = 1_000_000;
const PARALLEL_STATS = 64;

export const LAYOUT_MARKER = 'oci-layout';
export const LAYOUT_INDEX = 'index.json';
export const LAYOUT_MARKER_TEXT = '{"imageLayoutVersion":"1.0.0"}';

/** The name of a blob in a layout. The digest has to be one that `isDigest` takes: it becomes a path. */
export function blobName(digest: string): string {
  if (!isDigest(digest)) throw new IndexError('LAYOUT_INVALID', `not a digest: ${JSON.stringify(digest.slice(0, 100))}`);
  return `blobs/${digest.replace(':', '/')}`;
}

/**
 * Lists a layout in a folder: the files at the top and the blobs. Blobs may be symbolic links, as some build tools make them.
 *
 * @throws {IndexError} `LAYOUT_INVALID` when there are absurdly many files; errors of the file system as they are
 */
export async function listLayoutFolder(folder: string, signal: AbortSignal): Promise<LayoutFiles> {
  const names = await namesIn(folder, '');
  for (const algorithm of await foldersIn(join(folder, 'blobs'))) names.push(...(await namesIn(folder, `blobs/${algorithm}`)));
  if (names.length > MAX_LAYOUT_FILES) throw new IndexError('LAYOUT_INVALID', `${folder} holds more than ${MAX_LAYOUT_FILES} files`);
  const files = new Map<string, LayoutFile>();
  for (let at = 0; at < names.length; at += PARALLEL_STATS) {
    signal.throwIfAborted();
    const batch = names.slice(at, at + PARALLEL_STATS);
    const found = await Promise.all(batch.map((name) => regularFile(join(folder, name))));
    for (const [i, file] of found.entries()) if (file !== undefined) files.set(batch[i] ?? '', file);
  }
  return files;
}

/** The bytes of a file from `offsetBytes` on. */
export function streamFile(file: LayoutFile, offsetBytes: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
  if (offsetBytes >= file.sizeBytes) return noBytes();
  const start = file.offsetBytes + offsetBytes;
  const end = file.offsetBytes + file.sizeBytes - 1;
  return createReadStream(file.path, { start, end, highWaterMark: 1 << 20, signal });
}

/** @throws {IndexError} `LAYOUT_INVALID` when the file is longer than `maxBytes` or has become shorter than it was */
export async function readLayoutFile(file: LayoutFile, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
  if (file.sizeBytes > maxBytes) throw new IndexError('LAYOUT_INVALID', `${file.path}: larger than ${maxBytes} bytes`);
  signal.throwIfAborted();
  await using handle = await open(file.path, 'r');
  const bytes = Buffer.alloc(file.sizeBytes);
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await handle.read(bytes, done, bytes.length - done, file.offsetBytes + done);
    if (bytesRead === 0) throw new IndexError('LAYOUT_INVALID', `${file.path}: shorter than it was`);
    done += bytesRead;
  }
  return bytes;
}

async function namesIn(folder: string, below: string): Promise<string[]> {
  const entries = await readdir(join(folder, below), { withFileTypes: true });
  return entries.filter((entry) => entry.isFile() || entry.isSymbolicLink()).map(({ name }) => (below === '' ? name : `${below}/${name}`));
}

async function foldersIn(path: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

/** Undefined for what is not a regular file, and for a link that leads nowhere. */
async function regularFile(path: string): Promise<LayoutFile | undefined> {
  try {
    const info = await stat(path);
    return info.isFile() ? { path, offsetBytes: 0, sizeBytes: info.size, whole: true } : undefined;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ELOOP')) return undefined;
    throw error;
  }
}

async function* noBytes(): AsyncGenerator<Uint8Array> {
  // an empty file has no chunks
}
