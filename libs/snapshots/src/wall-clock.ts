const NS_PER_MS = 1_000_000n;

/** Nanoseconds since 1970. */
export type NanosecondClock = () => bigint;

/**
 * The time of day in nanoseconds. Node tells it in milliseconds only, which would date a snapshot before the call that made it;
 * the monotonic clock fills in the rest and is pulled back into the current millisecond whenever it has drifted out of it.
 */
export function wallClock(): NanosecondClock {
  let offsetNs = toNs(performance.timeOrigin + performance.now()) - process.hrtime.bigint();
  return () => {
    const monotonicNs = process.hrtime.bigint();
    const earliestNs = BigInt(Date.now()) * NS_PER_MS;
    const latestNs = earliestNs + NS_PER_MS - 1n;
    const nowNs = monotonicNs + offsetNs;
    const fittingNs = nowNs < earliestNs ? earliestNs : nowNs > latestNs ? latestNs : nowNs;
    offsetNs += fittingNs - nowNs;
    return fittingNs;
  };
}

function toNs(ms: number): bigint {
  const whole = Math.floor(ms);
  return BigInt(whole) * NS_PER_MS + BigInt(Math.floor((ms - whole) * 1e6));
}
