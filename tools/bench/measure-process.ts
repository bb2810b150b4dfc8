import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface ProcessFigures {
  readonly seconds: number;
  /** The largest resident set that was seen, in megabytes. */
  readonly peakMegabytes: number;
}

const SAMPLE_MS = 100;

/** Runs a program to its end. @throws when it fails; the message holds what it wrote to standard error */
export async function measureProcess(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<ProcessFigures> {
  const begin = performance.now();
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...env } });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString('utf8')));
  let peakKilobytes = 0;
  const sampler = setInterval(() => (peakKilobytes = Math.max(peakKilobytes, highWaterMark(child.pid))), SAMPLE_MS);
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  clearInterval(sampler);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code ?? 'a signal'}: ${errors}`);
  return { seconds: (performance.now() - begin) / 1_000, peakMegabytes: peakKilobytes / 1_000 };
}

/** Kilobytes that a process had resident at most so far; 0 when it is gone. */
function highWaterMark(pid: number | undefined): number {
  try {
    return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid ?? 0}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0; // it has ended between the timer and the read
  }
}
