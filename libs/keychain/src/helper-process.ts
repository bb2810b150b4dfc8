import { spawn, type ChildProcess } from 'node:child_process';
import { hasCode } from '@soci/errors';

export interface ProcessLimits {
  readonly timeoutMs: number;
  readonly maxStdoutBytes: number;
  readonly maxStderrBytes: number;
}

export type ProcessOutcome =
  | { readonly kind: 'exited'; readonly code: number; readonly stdout: Buffer; readonly stderr: Buffer }
  | { readonly kind: 'killed'; readonly by: string; readonly stderr: Buffer } // somebody else's signal
  | { readonly kind: 'missing' } // no such program on the path
  | { readonly kind: 'timeout' }
  | { readonly kind: 'too-much-output' };

/** From TERM to KILL. */
const KILL_GRACE_MS = 2_000;
/** A daemon that the program left behind may keep its output open; nobody waits for that. */
const OUTPUT_GRACE_MS = 1_000;

/**
 * Runs a program without a shell, in a process group of its own, with `input` on its standard input.
 *
 * @throws the signal's reason when it fires (the group is killed), or what `spawn` reports other than a missing program
 */
export async function runProcess(
  program: string,
  args: readonly string[],
  { input, env, limits }: { readonly input: string; readonly env: Readonly<Record<string, string>>; readonly limits: ProcessLimits },
  signal: AbortSignal,
): Promise<ProcessOutcome> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<ProcessOutcome>();
  const child = spawn(program, args, { cwd: '/', env, detached: true, shell: false, stdio: ['pipe', 'pipe', 'pipe'] });
  const stop = (outcome: ProcessOutcome): void => {
    resolve(outcome);
    killGroup(child);
  };
  const onAbort = (): void => {
    reject(signal.reason as Error);
    killGroup(child);
  };
  const timer = setTimeout(() => stop({ kind: 'timeout' }), limits.timeoutMs);
  signal.addEventListener('abort', onAbort, { once: true });

  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  let stdoutBytes = 0;
  let stderrBytes = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    stdoutBytes += chunk.length;
    if (stdoutBytes > limits.maxStdoutBytes) stop({ kind: 'too-much-output' });
    else stdout.push(chunk);
  });
  child.stderr.on('data', (chunk: Buffer) => {
    if (stderrBytes < limits.maxStderrBytes) stderr.push(chunk.subarray(0, limits.maxStderrBytes - stderrBytes));
    stderrBytes += chunk.length;
  });
  child.stdin.on('error', () => undefined); // a program need not read what it is given
  child.stdin.end(input);
  child.on('error', (error) => (hasCode(error, 'ENOENT') ? resolve({ kind: 'missing' }) : reject(error)));

  const finish = (code: number | null, by: NodeJS.Signals | null): void => {
    const errors = Buffer.concat(stderr);
    resolve(
      code === null
        ? { kind: 'killed', by: by ?? 'unknown signal', stderr: errors }
        : { kind: 'exited', code, stdout: Buffer.concat(stdout), stderr: errors },
    );
  };
  child.on('close', finish);
  child.on('exit', (code, by) => {
    setTimeout(() => {
      finish(code, by);
      child.stdout.destroy();
      child.stderr.destroy();
    }, OUTPUT_GRACE_MS).unref();
  });
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
    for (const chunk of stdout) chunk.fill(0);
  }
}

/** TERM for the group, KILL if it does not listen; its pipes are closed at once, so that a flood ends. */
function killGroup(child: ChildProcess): void {
  child.stdout?.destroy();
  child.stderr?.destroy();
  signalGroup(child, 'SIGTERM');
  const timer = setTimeout(() => signalGroup(child, 'SIGKILL'), KILL_GRACE_MS);
  timer.unref();
}

function signalGroup({ pid }: ChildProcess, name: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, name);
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error;
  }
}
