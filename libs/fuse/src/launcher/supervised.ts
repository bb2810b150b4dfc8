import { spawn } from 'node:child_process';
import { readFileSync, writeSync } from 'node:fs';
import type { FromKeeper, ToKeeper } from './kept.ts';

// Built-ins alone: the keeper loads this.

/** How a service ended; neither, when it was not a child of this process and nobody can know. */
export interface ServiceEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A service that runs, from its keeper's side. */
export interface Supervised {
  readonly pid: number;
  /** As `nowMs` had it. */
  readonly startedAt: number;
  readonly ended: Promise<ServiceEnd>;
  readonly kill: (signal: NodeJS.Signals) => void;
  readonly send: (message: FromKeeper) => void;
}

/** Of a clock that only goes on. `performance` would load a megabyte into a process that is to stay small. */
export function nowMs(): number {
  return process.uptime() * 1_000;
}

const GONE_POLL_MS = 5;
/** A process without descriptors ends within moments; one that does not is in the kernel for good, and the next may start. */
const GONE_DEADLINE_MS = 5_000;

/** Starts a service. `onMessage` may be called until it has ended. */
export function startService(
  command: readonly string[],
  environment: NodeJS.ProcessEnv,
  descriptors: readonly number[],
  onMessage: (message: ToKeeper) => void,
): Supervised {
  const [program = process.execPath, ...args] = command;
  const child = spawn(program, args, { env: environment, stdio: ['inherit', 'inherit', 'inherit', ...descriptors, 'ipc'] });
  const { promise: ended, resolve } = Promise.withResolvers<ServiceEnd>();
  child.on('message', (message) => receive(message, onMessage));
  child.on('error', (error) => {
    if (child.pid !== undefined) return; // a signal or a message that did not reach it: it ends
    writeSync(2, `${program} cannot be started: ${error.message}\n`);
    resolve({ code: 1, signal: null });
  });
  child.once('exit', (code, signal) => resolve({ code, signal }));
  return {
    pid: child.pid ?? 0,
    startedAt: nowMs(),
    ended,
    kill: (signal) => void child.kill(signal),
    send: (message) => {
      if (child.connected) child.send(message, () => undefined); // one that dies meanwhile asks again in its next life
    },
  };
}

/** Takes over a service that lost its keeper and started this process. It is known by the channel between the two, which ends with it. */
export function adoptService(pid: number, onMessage: (message: ToKeeper) => void): Supervised {
  const { promise: ended, resolve } = Promise.withResolvers<ServiceEnd>();
  const isSame = process.ppid === pid ? processWatcher(pid) : (): boolean => false; // it ended before this process looked
  const waitUntilGone = (): void => {
    const deadline = nowMs() + GONE_DEADLINE_MS;
    const look = (): void => {
      if (!isSame() || nowMs() > deadline) resolve({ code: null, signal: null });
      else setTimeout(look, GONE_POLL_MS);
    };
    look();
  };
  process.on('message', (message) => receive(message, onMessage));
  if (process.connected) process.once('disconnect', waitUntilGone);
  else waitUntilGone();
  return {
    pid,
    startedAt: nowMs(),
    ended,
    kill: (signal) => {
      if (isSame()) process.kill(pid, signal);
    },
    send: (message) => void process.send?.(message, undefined, undefined, () => undefined),
  };
}

/** Tells whether a process is still the one that it was now: numbers are used again. One that is dead and not waited for is gone. */
function processWatcher(pid: number): () => boolean {
  const startTime = (): string | undefined => {
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ');
      return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
    } catch {
      return undefined;
    }
  };
  const first = startTime();
  return () => first !== undefined && startTime() === first;
}

/** Nothing that a service says may end the process that outlives it. */
function receive(message: unknown, onMessage: (message: ToKeeper) => void): void {
  if (typeof message === 'object' && message !== null) onMessage(message as ToKeeper);
}
