/**
 * The part of the FUSE kernel protocol that a flat read-only filesystem speaks: little-endian words, as the kernel lays them out.
 * @see https://github.com/torvalds/linux/blob/master/include/uapi/linux/fuse.h
 */
export const OPCODE = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  read: 15,
  statfs: 17,
  init: 26,
  readdir: 28,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
  readdirplus: 44,
} as const;

/** Where the words of a request are. */
export const IN_WORD = { opcode: 1, uniqueLow: 2, uniqueHigh: 3, node: 4, nodeHigh: 5, readOffset: 12, readSize: 14 } as const;
export const IN_HEADER_BYTES = 40;
export const OUT_HEADER_BYTES = 16;
/** One READ at most: `MAX_PAGES` pages. */
export const MAX_READ_BYTES = 128 << 10;
/** The kernel refuses a shorter buffer: its own minimum is 8 KiB. */
export const REQUEST_BYTES = 64 << 10;

const MAJOR = 7;
const MINOR = 45;
const OLDEST_MINOR = 36; // the first with a second word of INIT flags
const MAX_PAGES = 32;
const MAX_WRITE_BYTES = 4096;
/** At 64, a hundred reads that wait for the registry would stop the local reads of every other layer. */
const MAX_BACKGROUND = 65_535;
const NOTIFY_RESEND = 7;
const ATTR_BYTES = 88;
const FOREVER_SECONDS = 0x7fffffff;

const FLAG = {
  asyncRead: 1 << 0,
  noOpen: 1 << 17,
  parallelDirops: 1 << 18,
  maxPages: 1 << 22,
  noOpendir: 1 << 24,
  explicitInval: 1 << 25,
  initExt: 1 << 30,
};
const FLAG2 = { hasResend: 1 << 7 };
const WANTED = FLAG.asyncRead | FLAG.noOpen | FLAG.parallelDirops | FLAG.maxPages | FLAG.noOpendir | FLAG.explicitInval | FLAG.initExt;

export interface Attributes {
  readonly node: number;
  readonly sizeBytes: number;
  readonly isDirectory: boolean;
}

/** Writes an error answer for the request of that number. @returns its length */
export function putError(reply: Uint32Array, uniqueLow: number, uniqueHigh: number, errno: number): number {
  return putHeader(reply, uniqueLow, uniqueHigh, OUT_HEADER_BYTES, errno);
}

/** Writes the header of an answer. @returns `lengthBytes`, header included */
export function putHeader(reply: Uint32Array, uniqueLow: number, uniqueHigh: number, lengthBytes: number, errno = 0): number {
  reply[0] = lengthBytes;
  reply[1] = -errno;
  reply[2] = uniqueLow;
  reply[3] = uniqueHigh;
  return lengthBytes;
}

/** The answer to LOOKUP, for ever. Header left out. @returns the length with the header */
export function putEntry(reply: Uint32Array, attributes: Attributes): number {
  reply.fill(0, 4, 14);
  reply[4] = attributes.node;
  reply[8] = FOREVER_SECONDS; // the name
  reply[10] = FOREVER_SECONDS; // the attributes
  return putAttributes(reply, 14, attributes);
}

/** The answer to GETATTR, for ever. Header left out. @returns the length with the header */
export function putAttr(reply: Uint32Array, attributes: Attributes): number {
  reply.fill(0, 4, 8);
  reply[4] = FOREVER_SECONDS;
  return putAttributes(reply, 8, attributes);
}

/** The answer to STATFS: an empty, full filesystem. Header left out. @returns the length with the header */
export function putStatfs(reply: Uint32Array): number {
  reply.fill(0, 4, 24);
  reply[14] = 4096; // block size
  reply[15] = 255; // longest name
  reply[16] = 4096; // fragment size
  return 96;
}

/**
 * The answer to INIT. Header left out.
 * @param mayResend false: as from a kernel that cannot send requests again
 * @returns the length with the header, and whether unanswered requests can be asked for again; `undefined` when the kernel's protocol is too old or too new
 */
export function putInit(
  reply: Uint32Array,
  request: Uint32Array,
  mayResend = true,
): { readonly lengthBytes: number; readonly hasResend: boolean } | undefined {
  const [major = 0, minor = 0, readAhead = 0, flags = 0, flags2 = 0] = request.subarray(10, 15);
  if (major !== MAJOR || minor < OLDEST_MINOR) return undefined;
  reply.fill(0, 4, 20);
  reply[4] = MAJOR;
  reply[5] = Math.min(minor, MINOR);
  reply[6] = readAhead;
  reply[7] = flags & WANTED;
  reply[8] = MAX_BACKGROUND | (MAX_BACKGROUND << 16); // second half: congestion threshold
  reply[9] = MAX_WRITE_BYTES;
  reply[10] = 1; // time granularity
  reply[11] = MAX_PAGES;
  const accepted = mayResend ? flags2 & FLAG2.hasResend : 0;
  reply[12] = accepted;
  return { lengthBytes: 80, hasResend: accepted !== 0 };
}

/** The message that makes the kernel send again whatever an earlier process took and never answered. */
export function resendMessage(): Uint8Array {
  const message = new Uint32Array(OUT_HEADER_BYTES / 4);
  message[0] = OUT_HEADER_BYTES;
  message[1] = NOTIFY_RESEND;
  return new Uint8Array(message.buffer);
}

/** The name in a LOOKUP: bytes up to a NUL, one character a byte. */
export function lookupName(request: Buffer, lengthBytes: number): string {
  const end = request.indexOf(0, IN_HEADER_BYTES);
  return request.toString('latin1', IN_HEADER_BYTES, end < 0 || end > lengthBytes ? lengthBytes : end);
}

function putAttributes(reply: Uint32Array, at: number, { node, sizeBytes, isDirectory }: Attributes): number {
  reply.fill(0, at, at + ATTR_BYTES / 4);
  reply[at] = node;
  reply[at + 2] = sizeBytes;
  reply[at + 3] = sizeBytes / 2 ** 32;
  const blocks = Math.ceil(sizeBytes / 512);
  reply[at + 4] = blocks;
  reply[at + 5] = blocks / 2 ** 32;
  reply[at + 15] = isDirectory ? 0o040500 : 0o100400;
  reply[at + 16] = isDirectory ? 2 : 1; // links
  reply[at + 20] = 4096; // preferred block size
  return at * 4 + ATTR_BYTES;
}
