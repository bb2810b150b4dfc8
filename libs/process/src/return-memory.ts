export interface ReturnMemoryOptions {
  /** Collects garbage. */
  readonly collect: () => void;
  /** Gives back what the allocator holds. */
  readonly trim: () => void;
  readonly intervalMs?: number;
  /** Milliseconds for which this thread has worked so far. */
  readonly workedMs?: () => number;
}

const INTERVAL_MS = 5_000;
/** Less than that in an interval is idleness. */
const IDLE_SHARE = 0.05;
/** After less work than that there is nothing worth a collection. */
const MIN_WORK_MS = 250;
/** Threads that end when they have had nothing to do for a while, free what they held after the collection. */
const TRIMS = 10;

/**
 * Returns memory after work: an engine that has nothing to do collects no garbage by itself, and what a burst left would stay resident until the next one.
 * Looks once in an interval; when there was work since the last time, and none now, it collects.
 */
export function returnMemoryWhenIdle({ collect, trim, intervalMs = INTERVAL_MS, workedMs = loopTime }: ReturnMemoryOptions): Disposable {
  let [collectedAt, last, trimsLeft] = [0, workedMs(), 0];
  const timer = setInterval(() => {
    const now = workedMs();
    const isIdle = now - last < IDLE_SHARE * intervalMs;
    last = now;
    if (!isIdle) return;
    if (now - collectedAt >= MIN_WORK_MS) {
      collect();
      collectedAt = workedMs();
      trimsLeft = TRIMS;
    }
    if (trimsLeft > 0) trim();
    trimsLeft = Math.max(0, trimsLeft - 1);
    last = workedMs();
  }, intervalMs).unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

function loopTime(): number {
  return performance.eventLoopUtilization().active;
}
