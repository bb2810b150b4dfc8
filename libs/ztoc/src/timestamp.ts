const DIGIT_0 = 48;
const SECONDS_PER_DAY = 86_400;
/** Seconds from 1970 back to the year 1: what Go's zero time is, and what a time that cannot be read becomes. */
export const ZERO_TIME_SECONDS = -62_135_596_800;
/** The first second of year 0 and the first after year 9999: RFC 3339 has no other years. */
const FIRST_SECOND = -62_167_219_200;
const END_SECOND = 253_402_300_800;
/** `9999-12-31T23:59:59.999999999Z` */
export const MAX_TIMESTAMP_BYTES = 30;

/**
 * Writes a time as RFC 3339 in UTC with as many digits of the fraction as are not zero at its end, as Go does.
 *
 * @returns how many bytes were written: 20 to 30, or 0 for a year outside 0 to 9999, which the format cannot tell
 */
export function writeTimestamp(target: Uint8Array, start: number, seconds: number, nanos: number): number {
  if (seconds < FIRST_SECOND || seconds >= END_SECOND) return 0;
  const days = Math.floor(seconds / SECONDS_PER_DAY);
  const second = seconds - days * SECONDS_PER_DAY;
  // Years that begin in March, in eras of 400 years, put the leap day last.
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = ((dayOfEra - ((dayOfEra / 1460) | 0) + ((dayOfEra / 36_524) | 0) - ((dayOfEra / 146_096) | 0)) / 365) | 0;
  const dayOfYear = dayOfEra - (365 * yearOfEra + (yearOfEra >> 2) - ((yearOfEra / 100) | 0));
  const shiftedMonth = ((5 * dayOfYear + 2) / 153) | 0;
  const day = dayOfYear - (((153 * shiftedMonth + 2) / 5) | 0) + 1;
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);

  let at = writeDigits(target, start, year, 4);
  target[at] = 0x2d;
  at = writeDigits(target, at + 1, month, 2);
  target[at] = 0x2d;
  at = writeDigits(target, at + 1, day, 2);
  target[at] = 0x54;
  at = writeDigits(target, at + 1, (second / 3600) | 0, 2);
  target[at] = 0x3a;
  at = writeDigits(target, at + 1, ((second / 60) | 0) % 60, 2);
  target[at] = 0x3a;
  at = writeDigits(target, at + 1, second % 60, 2);
  if (nanos !== 0) {
    target[at] = 0x2e;
    at = writeDigits(target, at + 1, nanos, 9);
    while (target[at - 1] === DIGIT_0) at--;
  }
  target[at] = 0x5a;
  return at + 1 - start;
}

function writeDigits(target: Uint8Array, start: number, value: number, count: number): number {
  let rest = value;
  for (let i = start + count - 1; i >= start; i--) {
    target[i] = DIGIT_0 + (rest % 10);
    rest = (rest / 10) | 0;
  }
  return start + count;
}

/** A time that `readTimestamp` fills in, so that reading many makes no objects. */
export interface MutableTime {
  seconds: number;
  nanos: number;
}

/**
 * Reads an RFC 3339 time with `Z` or an offset; digits of the fraction past the ninth are dropped.
 * What is no such time becomes the zero time (year 1), as in the Go tool.
 */
export function readTimestamp(bytes: Uint8Array, start: number, end: number, into: MutableTime): void {
  into.seconds = ZERO_TIME_SECONDS;
  into.nanos = 0;
  if (end - start < 20 || !hasSeparators(bytes, start)) return;
  const year = readDigits(bytes, start, 4);
  const month = readDigits(bytes, start + 5, 2);
  const day = readDigits(bytes, start + 8, 2);
  const hour = readDigits(bytes, start + 11, 2);
  const minute = readDigits(bytes, start + 14, 2);
  const second = readDigits(bytes, start + 17, 2);
  if (year < 0 || month < 1 || month > 12 || day < 1 || day > daysIn(month, year)) return;
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) return;

  let at = start + 19;
  let nanos = 0;
  if (bytes[at] === 0x2e) {
    let unit = 100_000_000;
    const first = ++at;
    for (; at < end && isDigit(bytes[at]); at++) {
      nanos += ((bytes[at] ?? 0) - DIGIT_0) * unit;
      unit = (unit / 10) | 0;
    }
    if (at === first) return;
  }
  const offset = readOffset(bytes, at, end);
  if (Number.isNaN(offset)) return;
  into.seconds = daysSince1970(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - offset;
  into.nanos = nanos;
}

function hasSeparators(bytes: Uint8Array, start: number): boolean {
  return (
    bytes[start + 4] === 0x2d &&
    bytes[start + 7] === 0x2d &&
    bytes[start + 10] === 0x54 &&
    bytes[start + 13] === 0x3a &&
    bytes[start + 16] === 0x3a
  );
}

/** Seconds east of Greenwich; NaN when the bytes are no zone or something follows it. */
function readOffset(bytes: Uint8Array, at: number, end: number): number {
  const sign = bytes[at];
  if (sign === 0x5a) return end === at + 1 ? 0 : Number.NaN;
  if ((sign !== 0x2b && sign !== 0x2d) || end !== at + 6 || bytes[at + 3] !== 0x3a) return Number.NaN;
  const hours = readDigits(bytes, at + 1, 2);
  const minutes = readDigits(bytes, at + 4, 2);
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return Number.NaN;
  return (sign === 0x2b ? 1 : -1) * (hours * 3600 + minutes * 60);
}

/** A number of `count` digits, or -1. */
function readDigits(bytes: Uint8Array, start: number, count: number): number {
  let value = 0;
  for (let i = start; i < start + count; i++) {
    if (!isDigit(bytes[i])) return -1;
    value = value * 10 + ((bytes[i] ?? 0) - DIGIT_0);
  }
  return value;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= DIGIT_0 && byte <= DIGIT_0 + 9;
}

function daysIn(month: number, year: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

function daysSince1970(year: number, month: number, day: number): number {
  const shiftedYear = month <= 2 ? year - 1 : year;
  const era = Math.floor(shiftedYear / 400);
  const yearOfEra = shiftedYear - era * 400;
  const dayOfYear = (((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) | 0) + day - 1;
  const dayOfEra = yearOfEra * 365 + (yearOfEra >> 2) - ((yearOfEra / 100) | 0) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}
