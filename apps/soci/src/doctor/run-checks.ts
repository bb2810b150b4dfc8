import { describeError } from '@soci/errors';
import { plainText } from '@soci/status';
import { warning, type Check, type Finding } from './check.ts';
import type { DoctorContext } from './doctor-context.ts';

export interface RunChecksOptions {
  readonly context: DoctorContext;
  readonly signal: AbortSignal;
  readonly deadlineMs?: number;
  /** How many are done, and the first of those that are not. */
  readonly onProgress?: (done: number, waitingFor: string) => void;
}

const DEADLINE_MS = 10_000;

/**
 * Runs checks at the same time. One that does not heed its deadline is left behind.
 * @returns in the order of the checks
 * @throws the signal's reason
 */
export async function runChecks(
  checks: readonly Check[],
  { context, signal, deadlineMs = DEADLINE_MS, onProgress = () => undefined }: RunChecksOptions,
): Promise<readonly Finding[]> {
  const pending = new Set(checks);
  const runs = checks.map(async (check) => {
    const findings = await runOne(check, context, AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]), deadlineMs);
    pending.delete(check);
    const [next] = pending;
    onProgress(checks.length - pending.size, next?.name ?? '');
    return findings;
  });
  const findings = await Promise.all(runs);
  signal.throwIfAborted();
  return findings.flat();
}

async function runOne({ name, run }: Check, context: DoctorContext, bounded: AbortSignal, deadlineMs: number): Promise<readonly Finding[]> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const onLate = (): void => reject(bounded.reason as Error);
  bounded.addEventListener('abort', onLate, { once: true });
  try {
    const verdicts = await Promise.race([run(context, bounded), late]);
    // Registries, certificates and containerd word some of it.
    return [verdicts].flat().map((verdict) => ({ check: name, ...verdict, message: plainText(verdict.message) }));
  } catch (error) {
    const message = bounded.aborted ? `no result within ${deadlineMs / 1_000} s` : `not checked: ${plainText(describeError(error))}`;
    return [{ check: name, ...warning(message, 'run it as root; if it stays so, see the log of the service') }];
  } finally {
    bounded.removeEventListener('abort', onLate);
  }
}
