const INTEGER = /^([+-]?)(0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO]?(?:_?[0-7])+|0|[1-9](?:_?[0-9])*)$/;
const MAX_INT64 = 2n ** 63n - 1n;
const MIN_INT64 = -(2n ** 63n);
const MAX_UINT64 = 2n ** 64n - 1n;
const SECOND_NS = 1_000_000_000;
const UNIT_NS: ReadonlyMap<string, number> = new Map([
  ['ns', 1],
  ['us', 1e3],
  ['µs', 1e3],
  ['μs', 1e3],
  ['ms', 1e6],
  ['s', SECOND_NS],
  ['m', 60 * SECOND_NS],
  ['h', 3600 * SECOND_NS],
]);

/** What is wrong with a flag's value, in Go's words. */
export class GoValueError extends Error {
  override readonly name = 'GoValueError';
}

/** Reads an int64 as Go does with base 0: decimal, `0x`, `0b`, `0o` or `0`, and `_` between digits. @throws {GoValueError} */
export function parseGoInt64(text: string): bigint {
  return parseGoInteger('ParseInt', text, MIN_INT64, MAX_INT64);
}

/** @throws {GoValueError} */
export function parseGoUint64(text: string): bigint {
  if (/^[+-]/.test(text)) throw new GoValueError(`strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`);
  return parseGoInteger('ParseUint', text, 0n, MAX_UINT64);
}

function parseGoInteger(name: string, text: string, min: bigint, max: bigint): bigint {
  const match = INTEGER.exec(text);
  if (match === null) throw new GoValueError(`strconv.${name}: parsing ${JSON.stringify(text)}: invalid syntax`);
  const [, sign, digits = ''] = match;
  const plain = digits.replaceAll('_', '');
  const magnitude = BigInt(/^0[0-7]+$/.test(plain) ? `0o${plain.slice(1)}` : plain.toLowerCase());
  const value = sign === '-' ? -magnitude : magnitude;
  if (value < min || value > max) throw new GoValueError(`strconv.${name}: parsing ${JSON.stringify(text)}: value out of range`);
  return value;
}

/** Reads a duration such as `30s`, `1m30s` or `1.5h`. @returns milliseconds @throws {GoValueError} */
export function parseGoDuration(text: string): number {
  const match = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|0)$/.exec(text);
  if (match === null) throw new GoValueError(`time: invalid duration ${JSON.stringify(text)}`);
  let nanoseconds = 0;
  for (const [, number, unit = ''] of (match[2] ?? '').matchAll(/([\d.]+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    nanoseconds += Number(number) * (UNIT_NS.get(unit) ?? 0);
  }
  return (match[1] === '-' ? -nanoseconds : nanoseconds) / 1e6;
}

/** `1h2m3s ago`: a duration in whole seconds, as Go prints it. */
export function formatAge(fromMs: number, nowMs: number): string {
  const seconds = Math.round((nowMs - fromMs) / 1000);
  const total = Math.abs(seconds);
  const [h, m, s] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const parts = [h > 0 ? `${h}h` : '', total >= 60 ? `${m}m` : '', `${s}s`];
  return `${seconds < 0 ? '-' : ''}${parts.join('')} ago`;
}
