import { open, type FileHandle } from 'node:fs/promises';
import { posix } from 'node:path';
import { IndexError } from './errors.ts';
import { type LayoutFile, type LayoutFiles, MAX_LAYOUT_FILES } from './layout-source.ts';

const BLOCK = 512;
const MAX_EXTENSION_BYTES = 1 << 20;
const GZIP_MAGIC = 0x1f8b;

/**
 * Lists a layout in an uncompressed tar, by its headers alone: the files stay in the archive. A later entry of a name replaces an earlier one, links inside the
 * archive are followed.
 *
 * @throws {IndexError} `LAYOUT_INVALID` when it is no such tar
 */
export async function listLayoutArchive(path: string, signal: AbortSignal): Promise<LayoutFiles> {
  await using handle = await open(path, 'r');
  const { size } = await handle.stat();
  const files = new Map<string, LayoutFile>();
  const links = new Map<string, string>();
  let extension: Extension = {};
  for (let at = 0; at + BLOCK <= size; ) {
    signal.throwIfAborted();
    const header = await readAt(handle, at, BLOCK, path);
    if (header.every((byte) => byte === 0)) break;
    if (at === 0 && header.readUInt16BE(0) === GZIP_MAGIC) throw invalid(path, 'compressed; only uncompressed archives are read');
    checkHeader(header, at, path);
    const type = String.fromCharCode(header[156] ?? 0);
    const sizeBytes = extension.sizeBytes ?? number(header.subarray(124, 136), path);
    const offsetBytes = at + BLOCK;
    const next = offsetBytes + Math.ceil(sizeBytes / BLOCK) * BLOCK;
    if (offsetBytes + sizeBytes > size) throw invalid(path, `entry at ${at} ends beyond the archive`);
    if (isExtension(type)) {
      extension = { ...extension, ...(await readExtension(handle, type, offsetBytes, sizeBytes, path)) };
    } else {
      const name = cleanName(extension.name ?? headerName(header));
      files.delete(name);
      links.delete(name);
      if (type === '0' || type === '\0' || type === '7') files.set(name, { path, offsetBytes, sizeBytes, whole: false });
      else if (type === '1') links.set(name, cleanName(extension.link ?? text(header.subarray(157, 257))));
      else if (type === '2') links.set(name, cleanName(posix.join(posix.dirname(name), extension.link ?? text(header.subarray(157, 257)))));
      extension = {};
      if (files.size + links.size > MAX_LAYOUT_FILES) throw invalid(path, `more than ${MAX_LAYOUT_FILES} entries`);
    }
    at = next;
  }
  for (const [name, target] of links) {
    const file = files.get(target);
    if (file !== undefined) files.set(name, file);
  }
  return files;
}

interface Extension {
  readonly name?: string;
  readonly link?: string;
  readonly sizeBytes?: number;
}

/** PAX records and GNU long names apply to the entry that follows; global PAX records hold nothing that matters here. */
function isExtension(type: string): boolean {
  return type === 'x' || type === 'L' || type === 'K' || type === 'g';
}

async function readExtension(handle: FileHandle, type: string, at: number, sizeBytes: number, path: string): Promise<Extension> {
  if (type === 'g') return {};
  if (sizeBytes > MAX_EXTENSION_BYTES) throw invalid(path, `extension header of ${sizeBytes} bytes`);
  const bytes = await readAt(handle, at, sizeBytes, path);
  if (type === 'L') return { name: text(bytes) };
  if (type === 'K') return { link: text(bytes) };
  return paxExtension(bytes, path);
}

function paxExtension(bytes: Buffer, path: string): Extension {
  let extension: Extension = {};
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const length = space < 0 ? Number.NaN : Number(bytes.toString('latin1', at, space));
    if (!Number.isSafeInteger(length) || length <= space - at || at + length > bytes.length) throw invalid(path, 'malformed PAX record');
    const record = bytes.toString('utf8', space + 1, at + length - 1);
    const equals = record.indexOf('=');
    const key = record.slice(0, equals);
    const value = record.slice(equals + 1);
    if (key === 'path') extension = { ...extension, name: value };
    else if (key === 'linkpath') extension = { ...extension, link: value };
    else if (key === 'size') extension = { ...extension, sizeBytes: decimal(value, path) };
    at += length;
  }
  return extension;
}

function headerName(header: Buffer): string {
  const name = text(header.subarray(0, 100));
  const isUstar = header.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isUstar ? text(header.subarray(345, 500)) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** Relative to the layout's root; a name that climbs out of it matches nothing. */
function cleanName(name: string): string {
  return posix.normalize(`/${name}`).replace(/^\/|\/$/g, '');
}

function text(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
}

/** Octal digits, or GNU's base-256 where the first bit is set. */
function number(field: Buffer, path: string): number {
  if (((field[0] ?? 0) & 0x80) === 0) {
    const digits = text(field).trim();
    if (!/^[0-7]*$/.test(digits)) throw invalid(path, 'malformed size');
    return digits === '' ? 0 : Number.parseInt(digits, 8);
  }
  const value = field.subarray(1).reduce((sum, byte) => sum * 256 + byte, (field[0] ?? 0) & 0x7f);
  if (!Number.isSafeInteger(value)) throw invalid(path, 'malformed size');
  return value;
}

function decimal(value: string, path: string): number {
  const parsed = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(parsed)) throw invalid(path, 'malformed size');
  return parsed;
}

function checkHeader(header: Buffer, at: number, path: string): void {
  const blanked = header.reduce((sum, byte, i) => sum + (i >= 148 && i < 156 ? 0x20 : byte), 0);
  const stored = Number.parseInt(text(header.subarray(148, 156)).trim(), 8);
  if (blanked !== stored) throw invalid(path, at === 0 ? 'not a tar archive' : `broken header at ${at}`);
}

async function readAt(handle: FileHandle, at: number, length: number, path: string): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, at);
  if (bytesRead !== length) throw invalid(path, 'ends too soon');
  return buffer;
}

function invalid(path: string, why: string): IndexError {
  return new IndexError('LAYOUT_INVALID', `OCI archive ${path}: ${why}`);
}
