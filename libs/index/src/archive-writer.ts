import { createHash, randomBytes } from 'node:crypto';
import { lstat, open, realpath, rename, unlink, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { hasCode } from '@soci/errors';
import { parseDigest } from '@soci/image';
import { IndexError } from './errors.ts';
import { type LayoutFile, streamFile } from './layout-source.ts';

/** One entry of the archive. A folder's name ends in a slash. */
export type ArchiveEntry =
  | { readonly name: string; readonly kind: 'folder' }
  | { readonly name: string; readonly kind: 'bytes'; readonly bytes: Uint8Array; readonly mode: number }
  | { readonly name: string; readonly kind: 'blob'; readonly file: LayoutFile; readonly digest: string };

const BLOCK = 512;
const BLOB_MODE = 0o444;
const FOLDER_MODE = 0o755;
/** The largest size that eleven octal digits hold. */
const MAX_USTAR_SIZE = 0o77777777777;
const MAX_USTAR_NAME = 100;

/**
 * Writes an OCI archive as containerd exports one: entries sorted by name, no times, no owners; the same input gives the same bytes. Each blob is checked against its digest.
 * A file that is at `output` is replaced when all has been written; into a device or a pipe it is written directly.
 *
 * @throws {IndexError} `LAYOUT_INVALID` when a blob's bytes are not its digest's
 */
export async function writeArchive(output: string, entries: readonly ArchiveEntry[], signal: AbortSignal): Promise<void> {
  const sorted = [...entries].sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  const target = await targetOf(output);
  const path = target.replace
    ? join(dirname(target.path), `.${basename(target.path)}.soci-${randomBytes(6).toString('hex')}`)
    : target.path;
  try {
    await using handle = await open(path, target.replace ? 'wx' : 'w');
    for (const entry of sorted) await writeEntry(handle, entry, signal);
    await write(handle, Buffer.alloc(2 * BLOCK));
  } catch (error) {
    if (target.replace) await removeQuietly(path);
    throw error;
  }
  if (target.replace) await rename(path, target.path);
}

interface Target {
  readonly path: string;
  readonly replace: boolean;
}

async function targetOf(output: string): Promise<Target> {
  try {
    const path = await realpath(output);
    const info = await lstat(path);
    if (info.isDirectory()) throw new IndexError('OUTPUT_REFUSED', `${output} is a folder, not a file`);
    return { path, replace: info.isFile() };
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return { path: output, replace: true };
    throw error;
  }
}

async function writeEntry(handle: FileHandle, entry: ArchiveEntry, signal: AbortSignal): Promise<void> {
  switch (entry.kind) {
    case 'folder':
      await write(handle, header(entry.name, FOLDER_MODE, 0, '5'));
      return;
    case 'bytes':
      await write(handle, header(entry.name, entry.mode, entry.bytes.length, '0'));
      await write(handle, entry.bytes);
      await write(handle, padding(entry.bytes.length));
      return;
    case 'blob':
      await write(handle, header(entry.name, BLOB_MODE, entry.file.sizeBytes, '0'));
      await writeBlob(handle, entry.file, entry.digest, signal);
      await write(handle, padding(entry.file.sizeBytes));
  }
}

async function writeBlob(handle: FileHandle, file: LayoutFile, digest: string, signal: AbortSignal): Promise<void> {
  const { algorithm, hex } = parseDigest(digest);
  const hash = createHash(algorithm);
  let length = 0;
  for await (const chunk of streamFile(file, 0, signal)) {
    hash.update(chunk);
    length += chunk.length;
    await write(handle, chunk);
  }
  const got = hash.digest('hex');
  if (length !== file.sizeBytes || got !== hex) {
    throw new IndexError('LAYOUT_INVALID', `${digest}: the layout holds ${algorithm}:${got} (${length} bytes) under this name`);
  }
}

async function write(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) done += (await handle.write(bytes, done, bytes.length - done)).bytesWritten;
}

function padding(sizeBytes: number): Uint8Array {
  return Buffer.alloc((BLOCK - (sizeBytes % BLOCK)) % BLOCK);
}

/** A ustar header; before it a PAX header where the size or the name does not fit, as Go's writer does it. */
function header(name: string, mode: number, sizeBytes: number, type: '0' | '5'): Buffer {
  const records: string[] = [];
  if (name.length > MAX_USTAR_NAME) records.push(paxRecord('path', name));
  if (sizeBytes > MAX_USTAR_SIZE) records.push(paxRecord('size', String(sizeBytes)));
  if (records.length === 0) return ustarHeader(name, mode, sizeBytes, type);
  const body = Buffer.from(records.sort().join(''));
  const paxName = `${dirname(name)}/PaxHeaders.0/${basename(name)}`.slice(0, MAX_USTAR_NAME);
  const main = ustarHeader(name.slice(0, MAX_USTAR_NAME), mode, sizeBytes > MAX_USTAR_SIZE ? 0 : sizeBytes, type);
  return Buffer.concat([ustarHeader(paxName, 0, body.length, 'x'), body, padding(body.length), main]);
}

function ustarHeader(name: string, mode: number, sizeBytes: number, type: '0' | '5' | 'x'): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0, 'latin1');
  block.write(octal(mode, 8), 100, 'latin1');
  block.write(octal(0, 8), 108, 'latin1');
  block.write(octal(0, 8), 116, 'latin1');
  block.write(octal(sizeBytes, 12), 124, 'latin1');
  block.write(octal(0, 12), 136, 'latin1');
  block.fill(0x20, 148, 156);
  block.write(type, 156, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  if (type !== 'x') {
    block.write(octal(0, 8), 329, 'latin1');
    block.write(octal(0, 8), 337, 'latin1');
  }
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 7)} `, 148, 'latin1');
  return block;
}

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, '0')}\0`;
}

function paxRecord(key: string, value: string): string {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

async function removeQuietly(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}
