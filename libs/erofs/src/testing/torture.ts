import type { LayerEntry } from '@soci/tree/testing';

const SIZES = [1, 511, 512, 513, 4095, 4096, 4097, 100_000, 5_000_001];
const LINK_LENGTHS = [1, 31, 59, 60, 447, 511, 512, 513, 1024, 2048, 4095];

/** A layer with all the kinds of names, sizes, owners, times, links, devices and xattrs at which a writer can go wrong; whatever it holds GNU tar extracts as it is. */
export function tortureEntries(): LayerEntry[] {
  const entries: LayerEntry[] = [{ name: './', type: 'dir', mtimeSeconds: 1_500_000_000 }];
  entries.push(...fullDirectories(), ...oddNames(), ...files(), ...links(), ...devices(), ...attributes());
  return entries;
}

function fullDirectories(): LayerEntry[] {
  const entries: LayerEntry[] = [];
  for (const count of [0, 1, 10, 10_000]) {
    const name = `dir-of-${count}`;
    entries.push({ name: `${name}/`, type: 'dir', mtimeSeconds: 1_600_000_000 + count });
    for (let i = 0; i < count; i++)
      entries.push({ name: `${name}/entry-${(i * 7919) % 10_007}`, mtimeSeconds: 1_600_000_000, data: i % 100 === 0 ? `${i}` : '' });
  }
  entries.push({ name: 'long-names', type: 'dir' });
  for (let i = 0; i < 300; i++) entries.push({ name: `long-names/${String(i).padStart(255, 'n')}` });
  let deep = 'deep';
  entries.push({ name: deep, type: 'dir' });
  for (let i = 0; i < 30; i++) {
    deep += `/level-${i}`;
    entries.push({ name: deep, type: 'dir', mode: 0o750 }, { name: `${deep}/file`, data: deep });
  }
  return entries;
}

function oddNames(): LayerEntry[] {
  const names = [
    '!',
    '-',
    '+',
    '+x',
    '..x',
    '...',
    '.hidden',
    '.-',
    '.+x',
    '.!',
    '...x',
    ' ',
    '\n',
    '\x01',
    '\\',
    '"',
    '~',
    'ÿ',
    '名前',
    ',',
    '.,',
    '0',
    '-a',
    'a.',
    '.0',
  ];
  const bytes = [[0xff], [0xff, 0xfe], [0x80], [0x2e, 0x2e, 0xff], [0xc3, 0x28], [0x7f]];
  const all = [...names.map((name) => Buffer.from(name)), ...bytes.map((name) => Buffer.from(name))];
  return [
    { name: 'odd', type: 'dir', mtimeSeconds: 5 },
    ...all.map((name): LayerEntry => ({ name: Buffer.concat([Buffer.from('odd/'), name]), data: name, mtimeSeconds: 5 })),
    { name: Buffer.from([0x6f, 0x64, 0x64, 0x2d, 0xe9]), type: 'dir' },
    { name: Buffer.concat([Buffer.from([0x6f, 0x64, 0x64, 0x2d, 0xe9, 0x2f]), Buffer.from('in')]), data: 'in' },
  ];
}

function files(): LayerEntry[] {
  return [
    { name: 'files', type: 'dir' },
    ...SIZES.map((size): LayerEntry => ({ name: `files/${size}`, data: pattern(size) })),
    ...[0o4755, 0o2755, 0o1644, 0o7777, 0, 0o400].map((mode): LayerEntry => ({ name: `files/mode-${mode.toString(8)}`, mode, data: 'm' })),
    { name: 'files/shared', type: 'dir', mode: 0o2775, gid: 50 },
    { name: 'files/tmp', type: 'dir', mode: 0o1777 },
  ];
}

function links(): LayerEntry[] {
  return [
    { name: 'links', type: 'dir' },
    ...LINK_LENGTHS.map(
      (length): LayerEntry => ({ name: `links/sym-${length}`, type: 'symlink', link: 'ab/'.repeat(1365).slice(0, length) }),
    ),
    { name: 'links/dangling', type: 'symlink', link: '../no such \xff' },
    { name: 'links/first', data: 'linked', mtimeSeconds: 77, uid: 3 },
    { name: 'links/second', type: 'link', link: 'links/first', mtimeSeconds: 77, uid: 3 },
    { name: 'files/third', type: 'link', link: './links/first', mtimeSeconds: 77, uid: 3 },
    { name: 'links/sym-again', type: 'link', link: 'links/sym-60', mode: 0o777 },
  ];
}

function devices(): LayerEntry[] {
  return [
    { name: 'dev', type: 'dir' },
    { name: 'dev/null', type: 'char', device: [1, 3], mode: 0o666 },
    { name: 'dev/large', type: 'char', device: [4095, 70_000], mode: 0o600, uid: 70_000 },
    { name: 'dev/block', type: 'block', device: [8, 1], mode: 0o660, gid: 6 },
    { name: 'dev/fifo', type: 'fifo', mode: 0o600 },
    { name: 'dev/whiteout', type: 'char', device: [0, 0], mode: 0 },
  ];
}

function attributes(): LayerEntry[] {
  const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
  return [
    { name: 'attributes', type: 'dir', xattrs: { 'user.on-dir': 'yes', 'security.selinux': 'system_u:object_r:usr_t:s0\0' } },
    { name: 'attributes/owner', uid: 70_000, gid: 4_000_000_000, data: 'o' },
    { name: 'attributes/nanos', mtimeSeconds: 1_600_000_000, mtimeNanos: 123_456_789 },
    { name: 'attributes/late', mtimeSeconds: 4_990_000_000, mtimeNanos: 999_999_999 },
    { name: 'attributes/capability', data: 'c', xattrs: { 'security.capability': capability } },
    { name: 'attributes/empty-value', data: 'e', xattrs: { 'user.empty': '', 'user.full': 'x' } },
    { name: 'attributes/large-value', data: 'l', xattrs: { 'user.large': pattern(1500), 'user.small': 'x' } },
    { name: 'attributes/long-key', xattrs: { [`user.${'k'.repeat(200)}`]: 'v' } },
    {
      name: 'attributes/many',
      data: 'm',
      xattrs: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`user.key-${i}`, `value ${i}`])),
    },
    { name: 'attributes/on-link', type: 'symlink', link: 'owner', xattrs: { 'security.on-link': 'v' } },
    {
      name: 'attributes/acl',
      mode: 0o664,
      data: 'a',
      xattrs: { 'system.posix_acl_access': acl([1, 6], [2, 6, 1000], [4, 4], [16, 6], [32, 4]) },
    },
    {
      name: 'attributes/acl-dir',
      type: 'dir',
      mode: 0o755,
      xattrs: { 'system.posix_acl_default': acl([1, 7], [2, 7, 1000], [4, 5], [16, 7], [32, 5]) },
    },
  ];
}

/** A POSIX ACL as the xattr holds it: version, then tag, permissions and id of each entry. */
function acl(...entries: readonly (readonly [tag: number, permissions: number, id?: number])[]): Buffer {
  const bytes = Buffer.alloc(4 + entries.length * 8);
  bytes.writeUInt32LE(2, 0);
  for (const [i, [tag, permissions, id]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + i * 8);
    bytes.writeUInt16LE(permissions, 6 + i * 8);
    bytes.writeUInt32LE(id ?? 0xffff_ffff, 8 + i * 8);
  }
  return bytes;
}

export function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >>> 9)) & 0xff;
  return bytes;
}
