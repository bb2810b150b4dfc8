import { describeError } from '@soci/errors';
import type { Logger } from '@soci/log';

export interface RunOptions {
  readonly log: Logger;
  /** What `main` has to stop in after the first signal; then the process ends anyway, with status 1. */
  readonly graceMs: number;
  /** Ends the process. `process.exit` waits for worker threads, and one that sits in a system call never ends: such a service passes the system's `_exit`. */
  readonly exit?: (code: number) => void;
  /** Put before the message on standard error when `main` fails, as in `soci: …`. */
  readonly name: string;
}

/** A terminal's Ctrl-C reaches a service twice when its parent passes signals on: what comes that soon is the same wish. */
const SAME_WISH_MS = 500;

/**
 * Runs a service until it ends by itself, SIGINT or SIGTERM. The signal aborts what `main` was given; a second one does not wait for the grace period.
 * Status 0 after a clean stop, 1 when `main` fails: the error is logged once, with its causes.
 */
export async function runMain(
  main: (signal: AbortSignal) => Promise<void>,
  { log, graceMs, name, exit = (code) => process.exit(code) }: RunOptions,
): Promise<void> {
  const stop = new AbortController();
  let hardStop: NodeJS.Timeout | undefined;
  let firstSignalAt = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) {
      if (performance.now() - firstSignalAt < SAME_WISH_MS) return;
      log.error({ signal }, 'told to stop a second time, not waiting');
      exit(1);
      return;
    }
    firstSignalAt = performance.now();
    log.info({ signal }, signal === 'SIGINT' ? 'Got interrupt' : 'Got terminated');
    hardStop = setTimeout(() => {
      log.error({ graceMs }, 'did not stop in time');
      exit(1);
    }, graceMs);
    stop.abort(new Error(`stopped by ${signal}`));
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  let code = 0;
  try {
    await main(stop.signal);
    log.info('Exiting');
  } catch (error) {
    code = 1;
    log.fatal({ error }, `${name}: ${describeError(error)}`);
  }
  clearTimeout(hardStop);
  exit(code);
}
