import type { Random } from './random.ts';

const BLOCK_BYTES = 512;
const NAME_BYTES = 100;

export interface TarMember {
  readonly name: string | Uint8Array;
  /** `0` file, `1` hard link, `2` symbolic link, `3` and `4` devices, `5` directory, `6` pipe. */
  readonly type: string;
  readonly data?: Uint8Array;
  readonly link?: string | Uint8Array;
  readonly mode?: number;
  readonly owner?: number;
  readonly mtime?: number;
  /** Records of a PAX header before it, besides those that name and link need. */
  readonly pax?: readonly (readonly [key: string, value: string | Uint8Array])[];
}

/** An archive of these members, with PAX headers where a name or link needs one, and two blocks of zeros at the end. */
export function packTar(members: readonly TarMember[]): Buffer {
  return Buffer.concat([...members.flatMap(packMember), Buffer.alloc(2 * BLOCK_BYTES)]);
}

/** Where an archive's names come from: few of them, so that entries meet each other, replace each other and lead through each other's links. */
const WILD_PARTS = ['a', 'b', 'c', 'd', '.wh.a', '.wh.b', '.wh.c', '.wh..wh..opq', '.wh.', '..', '.', '', 'ü', '\u0001', 'x'.repeat(255)];
const XATTR_KEYS = [
  'user.one',
  'user.two',
  'security.capability',
  'trusted.overlay.opaque',
  'system.posix_acl_access',
  'security.',
  'other.x',
];

/** Members as a hostile layer would have them: whiteouts, links in circles, names that lead outside, the same name again and again. */
export function wildMembers(random: Random, count: number): TarMember[] {
  return Array.from({ length: count }, () => {
    const type = random.pick(['0', '0', '1', '2', '2', '3', '5', '5', '5', '6']);
    return {
      name: wildPath(random) + (type === '5' && random.chance(0.8) ? '/' : ''),
      type,
      mode: random.below(0o10000),
      owner: random.pick([0, 1000, 65_536, 2_097_151]),
      mtime: random.pick([0, 1, 1_700_000_000, 8_589_934_591]),
      ...(type === '0' ? { data: random.bytes(random.below(1500)) } : {}),
      ...(type === '1' || type === '2' ? { link: wildPath(random) } : {}),
      ...(random.chance(0.2)
        ? { pax: [[`SCHILY.xattr.${random.pick(XATTR_KEYS)}`, random.bytes(random.below(50))], ...wildRecords(random)] as const }
        : {}),
    };
  });
}

function wildPath(random: Random): string {
  const depth = random.chance(0.01) ? 1 + random.below(2100) : 1 + random.below(6);
  const path = Array.from({ length: depth }, () => random.pick(depth > 6 ? ['a', 'b'] : WILD_PARTS)).join('/');
  return (random.chance(0.1) ? '/' : '') + path;
}

function wildRecords(random: Random): (readonly [string, string])[] {
  if (random.chance(0.7)) return [];
  return [random.pick([['mtime', '1700000000.123456789'] as const, ['mtime', '-1.5'] as const, ['uid', '4294967295'] as const])];
}

function packMember({ name, type, data = Buffer.alloc(0), link = '', mode = 0o644, owner = 0, mtime = 0, pax = [] }: TarMember): Buffer[] {
  const [nameBytes, linkBytes] = [Buffer.from(name), Buffer.from(link)];
  const records = [
    ...(needsRecord(nameBytes) ? ([['path', nameBytes]] as const) : []),
    ...(needsRecord(linkBytes) ? ([['linkpath', linkBytes]] as const) : []),
    ...pax,
  ];
  const header = (fields: { name: Buffer; type: string; size: number; link: Buffer }): Buffer => {
    const block = Buffer.alloc(BLOCK_BYTES);
    fields.name.copy(block, 0, 0, NAME_BYTES);
    writeOctal(block, mode, 100, 8);
    writeOctal(block, owner, 108, 8);
    writeOctal(block, owner, 116, 8);
    writeOctal(block, fields.size, 124, 12);
    writeOctal(block, mtime, 136, 12);
    block.write(fields.type, 156, 'latin1');
    fields.link.copy(block, 157, 0, NAME_BYTES);
    block.write('ustar\u000000', 257, 'latin1');
    writeChecksum(block, 0);
    return block;
  };
  const payload = Buffer.concat(records.map(([key, value]) => packRecord(key, value)));
  const extension =
    records.length === 0 ? [] : [header({ name: Buffer.from('pax'), type: 'x', size: payload.length, link: Buffer.alloc(0) })];
  return [...extension, padded(payload), header({ name: nameBytes, type, size: data.length, link: linkBytes }), padded(data)];
}

/** Sums up a header again after it was changed. */
export function writeChecksum(archive: Uint8Array, headerAt: number): void {
  const block = Buffer.from(archive.buffer, archive.byteOffset + headerAt, BLOCK_BYTES);
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

function needsRecord(text: Buffer): boolean {
  return text.length > NAME_BYTES || text.some((byte) => byte >= 0x80);
}

/** `<length> <key>=<value>\n`, where the length counts itself. */
function packRecord(key: string, value: string | Uint8Array): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function writeOctal(block: Buffer, value: number, offset: number, width: number): void {
  block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, offset, 'latin1');
}

function padded(data: Uint8Array): Buffer {
  return Buffer.concat([data, Buffer.alloc((BLOCK_BYTES - (data.length % BLOCK_BYTES)) % BLOCK_BYTES)]);
}
