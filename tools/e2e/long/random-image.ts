import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { constants, gzipSync } from 'node:zlib';
import { blobFolder, writeLayout } from '../../image/layout.ts';
import type { WrittenLayer } from '../../image/layers.ts';
import type { Random } from './random.ts';
import { packTar, type TarMember } from './random-tar.ts';

const MAX_LAYERS = 5;
const MAX_MEMBERS = 120;
const MAX_FILE_BYTES = 400_000;
const TAR_RECORD_BYTES = 10_240;
const PARTS = ['usr', 'lib', 'share', 'a', 'b', 'ünïcode', '漢字', 'with space', 'long-'.padEnd(140, 'x'), 'x.so.1', '.hidden'];
const TIMES = [0, 1, 1_700_000_000, 4_294_967_296];

/**
 * An image of one to five layers such as real tools write them, in an OCI layout: names that need PAX headers, extended attributes, whiteouts, links, odd times;
 * gzip of any level, in one member or several, with or without zeros behind.
 * @returns the folder of the layout
 */
export async function makeRandomImage(directory: string, random: Random): Promise<string> {
  const layout = join(directory, 'layout');
  const blobs = await blobFolder(layout);
  const layers: WrittenLayer[] = [];
  for (let count = 1 + random.below(MAX_LAYERS); count > 0; count--) {
    const tar = paddedTar(packTar(plainMembers(random)), random);
    const isPlain = random.chance(0.1);
    const blob = isPlain ? tar : compress(tar, random);
    const hex = hexOf(blob);
    await writeFile(join(blobs, hex), blob);
    const mediaType = `application/vnd.oci.image.layer.v1.tar${isPlain ? '' : '+gzip'}`;
    layers.push({ descriptor: { mediaType, digest: `sha256:${hex}`, size: blob.length }, diffId: `sha256:${hexOf(tar)}` });
  }
  await writeLayout(layout, layers, { Cmd: ['/bin/true'] });
  return layout;
}

function plainMembers(random: Random): TarMember[] {
  const files: string[] = [];
  return Array.from({ length: 1 + random.below(MAX_MEMBERS) }, (_, i) => {
    const directory = Array.from({ length: random.below(5) }, () => random.pick(PARTS)).join('/');
    const name = `${random.chance(0.5) ? './' : ''}${directory === '' ? '' : `${directory}/`}`;
    const common = {
      mode: random.below(0o10000),
      owner: random.pick([0, 1000, 2_097_151]),
      mtime: random.pick(TIMES),
      pax: records(random),
    };
    const target = files.length === 0 ? undefined : random.pick(files);
    switch (random.below(target === undefined ? 7 : 9)) {
      case 0:
        return { ...common, name: `${name}directory-${i}/`, type: '5' };
      case 1:
        return { ...common, name: `${name}link-${i}`, type: '2', link: random.pick(['../lib', '/usr/ünïcode', 'x'.repeat(150)]) };
      case 2:
        return { ...common, name: `${name}${random.pick([`.wh.gone-${i}`, '.wh..wh..opq'])}`, type: '0' };
      case 3:
        return { ...common, name: `${name}pipe-${i}`, type: random.pick(['6', '3', '4']) };
      case 7:
      case 8:
        return { ...common, name: `${name}hard-${i}`, type: '1', link: target ?? '' };
      default:
        files.push(`${name}file-${i}`);
        return { ...common, name: `${name}file-${i}`, type: '0', data: content(random) };
    }
  });
}

/** Text that repeats itself, or noise, so that deflate makes blocks of every kind. */
function content(random: Random): Buffer {
  const length = random.chance(0.5) ? random.below(2_000) : random.below(MAX_FILE_BYTES);
  return random.chance(0.4) ? random.bytes(length) : Buffer.alloc(length, `${random.word()} says the line, again and again\n`);
}

function records(random: Random): (readonly [string, string | Uint8Array])[] {
  if (random.chance(0.6)) return [];
  return [
    random.pick([
      ['SCHILY.xattr.user.note', random.bytes(random.below(200))] as const,
      ['SCHILY.xattr.security.capability', random.bytes(20)] as const,
      ['mtime', `${random.below(2_000_000_000)}.${String(random.below(1e9)).padStart(9, '0')}`] as const,
      ['comment', 'of no consequence'] as const,
    ]),
  ];
}

/** GNU tar fills up its records with zeros; others do not. */
function paddedTar(tar: Buffer, random: Random): Buffer {
  if (random.chance(0.5)) return tar;
  return Buffer.concat([tar, Buffer.alloc((TAR_RECORD_BYTES - (tar.length % TAR_RECORD_BYTES)) % TAR_RECORD_BYTES)]);
}

function compress(tar: Buffer, random: Random): Buffer {
  const members: Buffer[] = [];
  const isOne = random.chance(0.6);
  for (let at = 0; at < tar.length; ) {
    const end = isOne ? tar.length : Math.min(tar.length, at + 1 + random.below(tar.length));
    const options = {
      level: random.below(10),
      memLevel: 1 + random.below(constants.Z_MAX_MEMLEVEL),
      strategy: random.pick([
        constants.Z_DEFAULT_STRATEGY,
        constants.Z_FILTERED,
        constants.Z_HUFFMAN_ONLY,
        constants.Z_RLE,
        constants.Z_FIXED,
      ]),
    };
    members.push(gzipSync(tar.subarray(at, end), options));
    at = end;
  }
  return Buffer.concat(members);
}

function hexOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
