import { parseNumeric, parseOctal } from './numbers.ts';
import type { MutableEntry, TarEntry } from './tar-entry.ts';
import { fieldEnd, startsWith } from './text.ts';

export const BLOCK_BYTES = 512;

const CHECKSUM = 148;
const CHECKSUM_BYTES = 8;
const MAGIC = 257;
const TRAILER = 508;
const PREFIX = 345;
const USTAR_PREFIX_BYTES = 155;
const STAR_PREFIX_BYTES = 131;
const SLASH = 0x2f;

type Format = 'v7' | 'ustar' | 'star' | 'gnu';

/**
 * Reads one header block into the entry. Which fields there are depends on the format: V7, POSIX (ustar and PAX), STAR or GNU.
 *
 * @returns false when the checksum is wrong or a number is none
 */
export function parseHeader(block: Uint8Array, start: number, entry: MutableEntry): boolean {
  if (!isChecksumRight(block, start)) return false;
  entry.typeFlag = block[start + 156] ?? 0;
  entry.name.setField(block, start, 100);
  entry.linkName.setField(block, start + 157, 100);
  entry.mode = parseNumeric(block, start + 100, 8);
  entry.uid = parseNumeric(block, start + 108, 8);
  entry.gid = parseNumeric(block, start + 116, 8);
  entry.sizeBytes = parseNumeric(block, start + 124, 12);
  entry.mtimeSeconds = parseNumeric(block, start + 136, 12);
  entry.mtimeNanos = 0;
  return hasExactNumbers(entry) && !Number.isNaN(entry.mtimeSeconds) && parseFormatFields(block, start, entry);
}

/** Whether none of the numbers that must be exact is beyond 2^53, or no number at all. A time may be: no format can say it. */
export function hasExactNumbers({ mode, uid, gid, sizeBytes }: TarEntry): boolean {
  return Number.isSafeInteger(mode) && Number.isSafeInteger(uid) && Number.isSafeInteger(gid) && Number.isSafeInteger(sizeBytes);
}

/** Whether all bytes of a block are zero. */
export function isZeroBlock(block: Uint8Array, start: number): boolean {
  for (let i = start; i < start + BLOCK_BYTES; i++) {
    if (block[i] !== 0) return false;
  }
  return true;
}

/** The sum of all bytes with the checksum field taken as spaces; some old writers summed signed bytes. */
function isChecksumRight(block: Uint8Array, start: number): boolean {
  const expected = parseOctal(block, start + CHECKSUM, CHECKSUM_BYTES);
  let sum = CHECKSUM_BYTES * 0x20;
  let high = 0;
  for (let i = start; i < start + CHECKSUM; i++) {
    const byte = block[i] ?? 0;
    sum += byte;
    high += byte >> 7;
  }
  for (let i = start + CHECKSUM + CHECKSUM_BYTES; i < start + BLOCK_BYTES; i++) {
    const byte = block[i] ?? 0;
    sum += byte;
    high += byte >> 7;
  }
  return expected === sum || expected === sum - 256 * high;
}

function formatOf(block: Uint8Array, start: number): Format {
  if (startsWith(block, start + MAGIC, 'ustar\0')) return startsWith(block, start + TRAILER, 'tar\0') ? 'star' : 'ustar';
  return startsWith(block, start + MAGIC, 'ustar  \0') ? 'gnu' : 'v7';
}

function parseFormatFields(block: Uint8Array, start: number, entry: MutableEntry): boolean {
  const format = formatOf(block, start);
  if (format === 'v7') {
    entry.userName.clear();
    entry.groupName.clear();
    entry.devMajor = 0;
    entry.devMinor = 0;
    return true;
  }
  entry.userName.setField(block, start + 265, 32);
  entry.groupName.setField(block, start + 297, 32);
  entry.devMajor = parseNumeric(block, start + 329, 8);
  entry.devMinor = parseNumeric(block, start + 337, 8);
  if (!Number.isSafeInteger(entry.devMajor) || !Number.isSafeInteger(entry.devMinor)) return false;
  if (format === 'ustar') {
    joinPrefix(block, start, USTAR_PREFIX_BYTES, entry);
  } else if (format === 'star') {
    joinPrefix(block, start, STAR_PREFIX_BYTES, entry);
    return !Number.isNaN(parseNumeric(block, start + 476, 12) + parseNumeric(block, start + 488, 12));
  } else if (hasGnuPrefix(block, start)) {
    joinPrefix(block, start, USTAR_PREFIX_BYTES, entry);
  }
  return true;
}

/**
 * GNU headers hold access and change times where the prefix is in others. Writers that put a prefix there all the same (Go before 1.8) are recognised as Go does
 * it: the times cannot be read, and what stands there is plain ASCII.
 */
function hasGnuPrefix(block: Uint8Array, start: number): boolean {
  const accessTime = block[start + 345] === 0 ? 0 : parseNumeric(block, start + 345, 12);
  const changeTime = block[start + 357] === 0 ? 0 : parseNumeric(block, start + 357, 12);
  if (!Number.isNaN(accessTime + changeTime)) return false;
  const end = fieldEnd(block, start + PREFIX, USTAR_PREFIX_BYTES);
  for (let i = start + PREFIX; i < end; i++) {
    if ((block[i] ?? 0) >= 0x80) return false;
  }
  return true;
}

function joinPrefix(block: Uint8Array, start: number, prefixBytes: number, entry: MutableEntry): void {
  const prefix = start + PREFIX;
  const length = fieldEnd(block, prefix, prefixBytes) - prefix;
  if (length === 0) return;
  const { joinedName } = entry;
  const { start: nameStart, end: nameEnd } = entry.name;
  for (let i = 0; i < length; i++) joinedName[i] = block[prefix + i] ?? 0;
  joinedName[length] = SLASH;
  for (let i = nameStart; i < nameEnd; i++) joinedName[length + 1 + i - nameStart] = block[i] ?? 0;
  entry.name.set(joinedName, 0, length + 1 + nameEnd - nameStart);
}
