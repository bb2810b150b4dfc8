import { INODE_FLAG, type Tree, type Xattr } from '@soci/tree';
import { ErofsError } from './erofs-error.ts';
import { alignTo } from './format.ts';

const HEADER_BYTES = 12;
const ENTRY_BYTES = 4;
const MAX_VALUE_BYTES = 0xffff;
/** What the 16-bit count of an inode can say. */
const MAX_BODY_BYTES = HEADER_BYTES + (0xffff - 1) * ENTRY_BYTES;

/** Number of a name's prefix; the rest of the name is stored. The longest that fits comes first. */
const PREFIXES: readonly (readonly [prefix: string, index: number])[] = [
  ['system.posix_acl_access', 2],
  ['system.posix_acl_default', 3],
  ['security.', 6],
  ['trusted.', 4],
  ['user.', 1],
];

const OPAQUE: Xattr = { key: Buffer.from('trusted.overlay.opaque'), value: Buffer.from('y') };
const NOTHING = new Uint8Array(0);

/** The xattrs of inodes as they stand behind an inode; each distinct set is encoded once. */
export class XattrBodies {
  readonly #tree: Tree;
  readonly #bodies = new Map<number, Uint8Array>();

  constructor(tree: Tree) {
    this.#tree = tree;
  }

  /** @returns empty, or a multiple of 4 long */
  of(inode: number): Uint8Array {
    const set = this.#tree.xattrSet[inode] ?? -1;
    const isOpaque = ((this.#tree.flags[inode] ?? 0) & INODE_FLAG.opaque) !== 0;
    if (set === -1 && !isOpaque) return NOTHING;
    const key = set * 2 + (isOpaque ? 1 : 0);
    let body = this.#bodies.get(key);
    if (body === undefined) {
      const xattrs = this.#tree.xattrSets[set] ?? [];
      body = encode(isOpaque ? [...xattrs, OPAQUE] : xattrs);
      this.#bodies.set(key, body);
    }
    return body;
  }
}

/** The count an inode carries for a body of this length. */
export function xattrCount(bodyBytes: number): number {
  return bodyBytes === 0 ? 0 : (bodyBytes - HEADER_BYTES) / ENTRY_BYTES + 1;
}

function encode(xattrs: readonly Xattr[]): Uint8Array {
  const entries = xattrs.map(encodeEntry);
  const length = entries.reduce((sum, entry) => sum + entry.length, HEADER_BYTES);
  if (length > MAX_BODY_BYTES) throw new ErofsError('TOO_LARGE', `xattrs of one file take ${length} bytes, more than ${MAX_BODY_BYTES}`);
  return Buffer.concat([Buffer.alloc(HEADER_BYTES), ...entries]);
}

function encodeEntry({ key, value }: Xattr): Uint8Array {
  const name = Buffer.from(key).toString('latin1');
  const prefix = PREFIXES.find(([text]) => name.startsWith(text));
  if (prefix === undefined) throw new ErofsError('BAD_XATTR', `xattr ${JSON.stringify(name)}: no such namespace in the format`);
  if (value.length > MAX_VALUE_BYTES) throw new ErofsError('TOO_LARGE', `xattr ${JSON.stringify(name)}: ${value.length} bytes`);
  const rest = Buffer.from(name.slice(prefix[0].length), 'latin1');
  if (rest.length > 0xff) throw new ErofsError('TOO_LARGE', `xattr ${JSON.stringify(name)}: name too long`);
  const entry = Buffer.alloc(alignTo(ENTRY_BYTES + rest.length + value.length, 4));
  entry[0] = rest.length;
  entry[1] = prefix[1];
  entry.writeUInt16LE(value.length, 2);
  entry.set(rest, ENTRY_BYTES);
  entry.set(value, ENTRY_BYTES + rest.length);
  return entry;
}
