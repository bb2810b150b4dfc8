const SPACE = 0x20;
const DIGIT_0 = 0x30;
const MINUS = 0x2d;
const PLUS = 0x2b;
const DOT = 0x2e;
const NANO_DIGITS = 9;
/** What does not fit into 64 bits with a sign is no number. */
const LIMIT = 2 ** 63;

/**
 * A numeric field of a header: base 256 when the top bit of the first byte is set (two's complement, big endian), else octal.
 *
 * @returns NaN when it is neither, or does not fit into 64 bits; beyond 2^53 not exact
 */
export function parseNumeric(bytes: Uint8Array, start: number, length: number): number {
  const first = bytes[start] ?? 0;
  if ((first & 0x80) === 0) return parseOctal(bytes, start, length);
  const invert = (first & 0x40) === 0 ? 0 : 0xff;
  let value = (first ^ invert) & 0x7f;
  for (let i = start + 1; i < start + length; i++) value = value * 256 + ((bytes[i] ?? 0) ^ invert);
  if (value >= LIMIT) return Number.NaN;
  return invert === 0 ? value : -value - 1;
}

/** An octal field: spaces and NULs around it do not count, nor does what follows a NUL in it; empty is 0. NaN when it holds anything else. */
export function parseOctal(bytes: Uint8Array, start: number, length: number): number {
  let at = start;
  let end = start + length;
  while (at < end && isPadding(bytes[at])) at++;
  while (end > at && isPadding(bytes[end - 1])) end--;
  let value = 0;
  for (; at < end; at++) {
    const byte = bytes[at] ?? 0;
    if (byte === 0) break;
    if (byte < DIGIT_0 || byte > DIGIT_0 + 7) return Number.NaN;
    value = value * 8 + (byte - DIGIT_0);
  }
  return value;
}

function isPadding(byte: number | undefined): boolean {
  return byte === 0 || byte === SPACE;
}

/** A whole decimal number with an optional sign, as in PAX records. NaN when it is none, or does not fit into 64 bits; beyond 2^53 not exact. */
export function parseDecimal(bytes: Uint8Array, start: number, end: number): number {
  const negative = bytes[start] === MINUS;
  let at = negative || bytes[start] === PLUS ? start + 1 : start;
  if (at >= end) return Number.NaN;
  let value = 0;
  for (; at < end; at++) {
    const byte = bytes[at] ?? 0;
    if (byte < DIGIT_0 || byte > DIGIT_0 + 9) return Number.NaN;
    value = value * 10 + (byte - DIGIT_0);
  }
  if (value >= LIMIT) return Number.NaN;
  return negative ? 0 - value : value;
}

/** A time that a parser fills in, so that reading many makes no objects. */
export interface MutableTime {
  mtimeSeconds: number;
  mtimeNanos: number;
}

/**
 * A PAX time: seconds, possibly negative, and a fraction of which nine digits count.
 *
 * @returns false when it is none; `into` is then unchanged
 */
export function parsePaxTime(bytes: Uint8Array, start: number, end: number, into: MutableTime): boolean {
  let point = start;
  while (point < end && bytes[point] !== DOT) point++;
  const seconds = parseDecimal(bytes, start, point);
  if (Number.isNaN(seconds)) return false;
  let nanos = 0;
  let digits = 0;
  for (let i = point + 1; i < end; i++) {
    const byte = bytes[i] ?? 0;
    if (byte < DIGIT_0 || byte > DIGIT_0 + 9) return false;
    if (digits === NANO_DIGITS) continue;
    nanos = nanos * 10 + (byte - DIGIT_0);
    digits++;
  }
  for (; digits < NANO_DIGITS; digits++) nanos *= 10;
  const before = bytes[start] === MINUS && nanos > 0; // -1.25 is 0.75 s after second -2
  into.mtimeSeconds = before ? seconds - 1 : seconds;
  into.mtimeNanos = before ? 1_000_000_000 - nanos : nanos;
  return true;
}
