// Run as a child in a mount namespace of its own: reads a request from standard input, mounts, looks, answers on standard output. What it mounted goes with it.
import { createHash } from 'node:crypto';
import { closeSync, type BigIntStats, lstatSync, openSync, readdirSync, readlinkSync, readFileSync, readSync } from 'node:fs';
import koffi from 'koffi';
import type { Answer, Found, Request } from './kernel.ts';

const MAX_XATTR_BYTES = 65_536;

const libc = koffi.load('libc.so.6');
const mount = libc.func('int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)');
const llistxattr = libc.func('intptr_t llistxattr(const void *path, void *list, size_t size)');
const lgetxattr = libc.func('intptr_t lgetxattr(const void *path, const char *name, void *value, size_t size)');

const request = JSON.parse(readFileSync(0, 'utf8')) as Request;
for (const { source, target, type, flags, data } of request.mounts) {
  if ((mount(source, target, type, flags, data) as number) !== 0) {
    process.stderr.write(`mount ${type} at ${target}: errno ${koffi.errno()}`);
    process.exit(1);
  }
}
const listed = request.trees.map(list);
const answer: Answer = {
  trees: listed.map(({ found }) => found),
  volumes: listed.map(({ volumes }) => volumes.size),
  pieces: request.pieces.map(readPiece),
};
process.stdout.write(JSON.stringify(answer));

function list(root: string): { readonly found: Found[]; readonly volumes: ReadonlySet<bigint> } {
  const found: Found[] = [];
  const groups = new Map<string, string>();
  const volumes = new Set<bigint>();
  const visit = (path: Buffer) => {
    const stat = lstatSync(path, { bigint: true });
    const name = path.subarray(Buffer.byteLength(root)).toString('latin1');
    const key = `${stat.dev}:${stat.ino}`;
    const group = groups.get(key) ?? name;
    groups.set(key, group);
    volumes.add(stat.dev);
    found.push(describe(path, name, group, stat));
    if (!stat.isDirectory()) return;
    for (const child of readdirSync(path, { encoding: 'buffer' })) visit(Buffer.concat([path, Buffer.from('/'), child]));
  };
  visit(Buffer.from(root));
  return { found: found.sort((a, b) => (a.path < b.path ? -1 : 1)), volumes };
}

function describe(path: Buffer, name: string, group: string, stat: BigIntStats): Found {
  return {
    path: name,
    mode: Number(stat.mode),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    links: Number(stat.nlink),
    mtime: String(stat.mtimeNs),
    ...(stat.isDirectory() ? {} : { size: Number(stat.size), group }),
    ...(stat.isCharacterDevice() || stat.isBlockDevice() ? { device: Number(stat.rdev) } : {}),
    ...(stat.isSymbolicLink() ? { link: readlinkSync(path, { encoding: 'buffer' }).toString('latin1') } : {}),
    ...(stat.isFile() ? { sha256: createHash('sha256').update(readFileSync(path)).digest('hex') } : {}),
    xattrs: xattrs(path),
  };
}

function xattrs(path: Buffer): Record<string, string> {
  const buffer = Buffer.alloc(MAX_XATTR_BYTES);
  const terminated = Buffer.concat([path, Buffer.alloc(1)]);
  const length = llistxattr(terminated, buffer, buffer.length) as number;
  const names = buffer.toString('latin1', 0, length).split('\0').slice(0, -1).sort();
  return Object.fromEntries(
    names.map((name) => {
      const size = lgetxattr(terminated, name, buffer, buffer.length) as number;
      return [name, size < 0 ? `errno ${koffi.errno()}` : buffer.toString('hex', 0, size)];
    }),
  );
}

function readPiece({ path, position, length }: Request['pieces'][number]): string {
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(file, bytes, 0, length, position)).toString('hex');
  } finally {
    closeSync(file);
  }
}
