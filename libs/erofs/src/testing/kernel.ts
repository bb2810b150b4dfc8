import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { buildTree } from '@soci/tree';
import { makeLayer } from '@soci/tree/testing';
import { writeImage } from '../write-image.ts';

/** What the child that mounts is asked: mounts in order, then trees to list and pieces of files to read. */
export interface Request {
  readonly mounts: readonly Mount[];
  readonly trees: readonly string[];
  readonly pieces: readonly { readonly path: string; readonly position: number; readonly length: number }[];
}

export interface Mount {
  readonly source: string;
  readonly target: string;
  readonly type: string;
  readonly flags: number;
  readonly data: string;
}

/** A name as the kernel shows it. Texts are Latin-1, so that each byte is a character; xattr values are hexadecimal. */
export interface Found {
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  /** Nanoseconds since 1970. */
  readonly mtime: string;
  readonly size?: number;
  /** The first name with the same inode. */
  readonly group?: string;
  readonly device?: number;
  readonly link?: string;
  readonly sha256?: string;
  readonly xattrs: Readonly<Record<string, string>>;
}

export interface Answer {
  readonly trees: readonly (readonly Found[])[];
  /** Of each tree: how many volumes its files say they are of. */
  readonly volumes: readonly number[];
  readonly pieces: readonly string[];
}

const READ_ONLY = 1;
const TIMEOUT_MS = 120_000;

/** A folder on a disk: the kernel does not take an image from tmpfs or overlayfs. */
export function makeFolder(t: TestContext): string {
  const folder = mkdtempSync('/var/tmp/soci-erofs-');
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** How to mount an image whose device is a tar: both are written to the folder. */
export function erofsMount(folder: string, name: string, image: Uint8Array, tar: Uint8Array | string): Mount {
  const target = join(folder, name);
  const source = `${target}.names`;
  const device = typeof tar === 'string' ? tar : `${target}.bytes`;
  mkdirSync(target);
  writeFileSync(source, image);
  if (typeof tar !== 'string') writeFileSync(device, tar);
  return { source, target, type: 'erofs', flags: READ_ONLY, data: `device=${device}` };
}

export function overlayMount(folder: string, name: string, lowers: readonly string[], options = ''): Mount {
  const target = join(folder, name);
  mkdirSync(target);
  return { source: 'overlay', target, type: 'overlay', flags: READ_ONLY, data: `${options}lowerdir=${lowers.join(':')}` };
}

/** Mounts and looks in a child with a mount namespace of its own. */
export function ask({ mounts = [], trees = [], pieces = [] }: Partial<Request>): Answer {
  const script = join(import.meta.dirname, 'inspect.ts');
  const child = spawnSync('unshare', ['--mount', '--propagation', 'private', process.execPath, '--conditions=@soci/source', script], {
    input: JSON.stringify({ mounts, trees, pieces }),
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    timeout: TIMEOUT_MS,
  });
  if (child.status !== 0) throw new Error(`unshare: ${child.stderr || String(child.error ?? child.signal)}`);
  return JSON.parse(child.stdout) as Answer;
}

/** Why the kernel cannot be asked here, or false. */
export function whyNotMountable(): string | false {
  if (process.getuid?.() !== 0) return 'needs root to mount';
  const folder = mkdtempSync('/var/tmp/soci-erofs-');
  try {
    const { tar, columns } = makeLayer([{ name: 'a', data: 'a' }]);
    const image = writeImage(buildTree(columns), { deviceSizeBytes: tar.length });
    ask({ mounts: [erofsMount(folder, 'probe', image, tar)], pieces: [{ path: join(folder, 'probe', 'a'), position: 0, length: 1 }] });
    return false;
  } catch (error) {
    return `this kernel does not mount EROFS from a file: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
