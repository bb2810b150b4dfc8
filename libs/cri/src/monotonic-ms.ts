/** Milliseconds on a clock that nobody sets, the same for all processes since the machine started. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}
