import { ENTRY_TYPE, type TocColumns } from '@soci/ztoc';

/** One entry of a layer that a test makes up. Texts are UTF-8 unless given as bytes. */
export interface LayerEntry {
  readonly name: string | Uint8Array;
  /** `file` when left out. */
  readonly type?: 'file' | 'dir' | 'symlink' | 'link' | 'char' | 'block' | 'fifo';
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtimeSeconds?: number;
  readonly mtimeNanos?: number;
  readonly data?: string | Uint8Array;
  /** Target of a symbolic or hard link. */
  readonly link?: string | Uint8Array;
  readonly device?: readonly [major: number, minor: number];
  readonly xattrs?: Readonly<Record<string, string | Uint8Array>>;
}

const TYPES = {
  file: { toc: ENTRY_TYPE.regular, flag: '0' },
  dir: { toc: ENTRY_TYPE.directory, flag: '5' },
  symlink: { toc: ENTRY_TYPE.symlink, flag: '2' },
  link: { toc: ENTRY_TYPE.hardLink, flag: '1' },
  char: { toc: ENTRY_TYPE.character, flag: '3' },
  block: { toc: ENTRY_TYPE.block, flag: '4' },
  fifo: { toc: ENTRY_TYPE.fifo, flag: '6' },
} as const;

const BLOCK = 512;
const MAX_HEADER_ID = 0o7777777;

/** A tar of the given entries (PAX where the plain header is too small), and its table of contents. */
export function makeLayer(entries: readonly LayerEntry[]): { readonly tar: Buffer; readonly columns: TocColumns } {
  const blocks: Buffer[] = [];
  const offsets: number[] = [];
  let offset = 0;
  const write = (block: Buffer) => {
    blocks.push(block);
    offset += block.length;
  };
  for (const entry of entries) {
    const data = bytesOf(entry.data ?? '');
    const records = paxRecords(entry);
    if (records.length > 0) {
      write(header({ name: 'pax', mode: 0o644 }, 'x', records.length));
      write(padded(records));
    }
    write(header(entry, TYPES[entry.type ?? 'file'].flag, data.length));
    offsets.push(offset);
    write(padded(data));
  }
  write(Buffer.alloc(2 * BLOCK));
  return { tar: Buffer.concat(blocks), columns: makeColumns(entries, offsets) };
}

/** The table of contents of the given entries, whose data begins at the given offsets (0 when left out). */
export function makeColumns(entries: readonly LayerEntry[], offsets: readonly number[] = []): TocColumns {
  const texts: Buffer[] = [];
  let length = 0;
  const add = (text: Buffer): [number, number] => {
    texts.push(text);
    length += text.length;
    return [length - text.length, length];
  };
  const names = entries.map(({ name }) => add(bytesOf(name)));
  const links = entries.map(({ link }) => add(bytesOf(link ?? '')));
  const column = (value: (entry: LayerEntry, i: number) => number) => Uint32Array.from(entries, value);
  const wide = (value: (entry: LayerEntry, i: number) => number) => Float64Array.from(entries, value);
  return {
    count: entries.length,
    bytes: Buffer.concat(texts),
    nameStart: column((_, i) => names[i]?.[0] ?? 0),
    nameEnd: column((_, i) => names[i]?.[1] ?? 0),
    linkStart: column((_, i) => links[i]?.[0] ?? 0),
    linkEnd: column((_, i) => links[i]?.[1] ?? 0),
    type: Uint8Array.from(entries, ({ type }) => TYPES[type ?? 'file'].toc),
    offsetBytes: wide((_, i) => offsets[i] ?? 0),
    sizeBytes: wide(({ data }) => bytesOf(data ?? '').length),
    mode: column((entry) => modeOf(entry)),
    uid: column(({ uid }) => uid ?? 0),
    gid: column(({ gid }) => gid ?? 0),
    devMajor: column(({ device }) => device?.[0] ?? 0),
    devMinor: column(({ device }) => device?.[1] ?? 0),
    mtimeSeconds: wide(({ mtimeSeconds }) => mtimeSeconds ?? 0),
    mtimeNanos: column(({ mtimeNanos }) => mtimeNanos ?? 0),
    headerOffsetBytes: wide(() => 0),
    xattrCount: column(({ xattrs }) => Object.keys(xattrs ?? {}).length),
    xattrs: (i) =>
      Object.entries(entries[i]?.xattrs ?? {}).map(([key, value]) => ({ key: Buffer.from(key, 'latin1'), value: bytesOf(value) })),
  };
}

function modeOf({ mode, type }: LayerEntry): number {
  return mode ?? (type === 'dir' ? 0o755 : type === 'symlink' ? 0o777 : 0o644);
}

function bytesOf(text: string | Uint8Array): Buffer {
  return Buffer.from(text as Uint8Array);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & (BLOCK - 1))]);
}

function header(entry: LayerEntry, flag: string, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, digits: number) =>
    block.write(Math.max(0, value).toString(8).padStart(digits, '0'), at, 'latin1');
  bytesOf(entry.name).copy(block, 0, 0, 100);
  octal(modeOf(entry), 100, 7);
  octal(Math.min(entry.uid ?? 0, MAX_HEADER_ID), 108, 7);
  octal(Math.min(entry.gid ?? 0, MAX_HEADER_ID), 116, 7);
  octal(size, 124, 11);
  octal(Math.min(entry.mtimeSeconds ?? 0, 0o77777777777), 136, 11);
  block.write(flag, 156, 'latin1');
  bytesOf(entry.link ?? '').copy(block, 157, 0, 100);
  block.write('ustar\x0000', 257, 'latin1');
  octal(entry.device?.[0] ?? 0, 329, 7);
  octal(entry.device?.[1] ?? 0, 337, 7);
  block.fill(' ', 148, 156);
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    6,
  );
  block[154] = 0;
  return block;
}

function paxRecords(entry: LayerEntry): Buffer {
  const records: Buffer[] = [];
  const add = (key: string, value: Uint8Array) => {
    const body = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), value, Buffer.from('\n')]);
    let total = body.length + 1;
    while (String(total).length + body.length !== total) total++;
    records.push(Buffer.from(String(total)), body);
  };
  const name = bytesOf(entry.name);
  const link = bytesOf(entry.link ?? '');
  if (name.length > 99) add('path', name);
  if (link.length > 99) add('linkpath', link);
  if ((entry.uid ?? 0) > MAX_HEADER_ID) add('uid', Buffer.from(String(entry.uid)));
  if ((entry.gid ?? 0) > MAX_HEADER_ID) add('gid', Buffer.from(String(entry.gid)));
  const seconds = entry.mtimeSeconds ?? 0;
  const nanos = entry.mtimeNanos ?? 0;
  if (nanos !== 0 || seconds < 0 || seconds > 0o77777777777) add('mtime', Buffer.from(decimalTime(seconds, nanos)));
  for (const [key, value] of Object.entries(entry.xattrs ?? {})) add(`SCHILY.xattr.${key}`, bytesOf(value));
  return Buffer.concat(records);
}

/** Seconds and nanoseconds after them as one decimal number, which below 0 counts away from it. */
function decimalTime(seconds: number, nanos: number): string {
  const all = BigInt(seconds) * 1_000_000_000n + BigInt(nanos);
  const distance = all < 0n ? -all : all;
  return `${all < 0n ? '-' : ''}${distance / 1_000_000_000n}.${String(distance % 1_000_000_000n).padStart(9, '0')}`;
}
