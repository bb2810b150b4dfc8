import { Readable } from 'node:stream';
import type { Host } from '../host.ts';
import { runCommandLine } from '../program.ts';

/** What a command line did. */
export interface Run {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Both, in the order in which they were written. */
  readonly output: string;
}

export interface RunOptions {
  readonly environment?: Readonly<Record<string, string>>;
  readonly stdin?: AsyncIterable<Uint8Array>;
  readonly signal?: AbortSignal;
}

/** Runs `soci` in this process. Without an environment it sees none. */
export async function runSoci(
  args: readonly string[],
  { environment = {}, stdin = Readable.from([]), signal }: RunOptions = {},
): Promise<Run> {
  const pieces: { readonly to: 'stdout' | 'stderr'; readonly bytes: Buffer }[] = [];
  const output = (to: 'stdout' | 'stderr') => ({
    write: (text: string | Uint8Array) => void pieces.push({ to, bytes: Buffer.from(text) }),
  });
  const host: Host = {
    environment,
    stdin,
    stdout: output('stdout'),
    stderr: output('stderr'),
    signal: signal ?? new AbortController().signal,
    now: Date.now,
  };
  const exit = await runCommandLine(args, host);
  const text = (to?: 'stdout' | 'stderr'): string =>
    Buffer.concat(pieces.filter((piece) => to === undefined || piece.to === to).map(({ bytes }) => bytes)).toString('utf8');
  return { exit, stdout: text('stdout'), stderr: text('stderr'), output: text() };
}
