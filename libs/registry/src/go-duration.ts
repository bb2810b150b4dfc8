const UNIT_MS = new Map([
  ['ns', 1e-6],
  ['us', 1e-3],
  ['µs', 1e-3],
  ['μs', 1e-3],
  ['ms', 1],
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
]);

/** A span of time as Go writes it, `1m30s`, in milliseconds. @returns undefined when it is none */
export function parseGoDuration(text: string): number | undefined {
  if (text === '0') return 0;
  if (!/^(?:(?:[0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})(?:ns|us|µs|μs|ms|s|m|h)){1,8}$/.test(text)) return undefined;
  let ms = 0;
  for (const [, value = '', unit = ''] of text.matchAll(/([0-9.]+)([a-zµμ]+)/g)) ms += Number(value) * (UNIT_MS.get(unit) ?? NaN);
  return ms;
}
