import { setTimeout as sleep } from 'node:timers/promises';

/** Waits, and does not keep the process alive for it. That the signal ends the wait is no error. @returns whether the time has run out */
export async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await sleep(ms, undefined, { signal, ref: false });
    return true;
  } catch (error) {
    if (!signal.aborted) throw error;
    return false;
  }
}
