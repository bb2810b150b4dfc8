const UNIT_MS: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, µs: 1e-3, μs: 1e-3, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const MAX_LENGTH = 64;
const DURATION = /^([+-]?)(?:0|(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)$/;
const PART = /([0-9.]+)(ns|us|µs|μs|ms|s|m|h)/g;

/** @returns milliseconds of a duration as Go writes it: `10m`, `1h30m`, `0s`; undefined when it is none */
export function parseGoDuration(text: string): number | undefined {
  const match = text.length > MAX_LENGTH ? null : DURATION.exec(text);
  if (match === null) return undefined;
  let ms = 0;
  for (const [, amount = '', unit = ''] of text.matchAll(PART)) ms += Number(amount) * (UNIT_MS[unit] ?? 0);
  return match[1] === '-' && ms > 0 ? -ms : ms;
}
