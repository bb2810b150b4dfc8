/** Parts of archives for tests, byte by byte: also such that no writer makes. */

const BLOCK_BYTES = 512;

export interface HeaderFields {
  readonly name?: string | Uint8Array;
  readonly type?: string;
  readonly sizeBytes?: number;
  readonly link?: string;
  readonly mtime?: number;
  readonly format?: 'v7' | 'ustar' | 'gnu' | 'star';
  readonly prefix?: string;
  /** Bytes to put at offsets, before the checksum is made. */
  readonly patches?: Readonly<Record<number, string | Uint8Array>>;
}

const MAGIC = { v7: '', ustar: 'ustar\u000000', gnu: 'ustar  \0', star: 'ustar\u000000' };

/** One header block with a right checksum. */
export function makeHeader({
  name = 'f',
  type = '0',
  sizeBytes = 0,
  link = '',
  mtime = 0,
  format = 'ustar',
  prefix = '',
  patches = {},
}: HeaderFields): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, offset: number, width: number) =>
    block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, offset, 'latin1');
  Buffer.from(name).copy(block, 0, 0, 100);
  octal(0o644, 100, 8);
  octal(1000, 108, 8);
  octal(100, 116, 8);
  octal(sizeBytes, 124, 12);
  octal(mtime, 136, 12);
  block.write(type, 156, 'latin1');
  block.write(link, 157, 100, 'latin1');
  block.write(MAGIC[format], 257, 'latin1');
  if (format !== 'v7') block.write('root', 265, 'latin1');
  block.write(prefix, 345, 'latin1');
  if (format === 'star') block.write('tar\0', 508, 'latin1');
  for (const [offset, bytes] of Object.entries(patches)) Buffer.from(bytes).copy(block, Number(offset));
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** A header and its data, padded. */
export function makeFile(fields: HeaderFields, data: string | Uint8Array = ''): Buffer {
  const bytes = Buffer.from(data);
  return Buffer.concat([makeHeader({ sizeBytes: bytes.length, ...fields }), bytes, Buffer.alloc(-bytes.length & (BLOCK_BYTES - 1))]);
}

/** `<length> <key>=<value>\n`, where the length counts itself. */
export function paxRecord(key: string, value: string | Uint8Array): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** A PAX extended header. */
export function makePax(records: Readonly<Record<string, string>>): Buffer {
  return makeFile({ name: 'PaxHeaders/f', type: 'x' }, Buffer.concat(Object.entries(records).map(([key, value]) => paxRecord(key, value))));
}

export const END_OF_ARCHIVE = Buffer.alloc(2 * BLOCK_BYTES);
