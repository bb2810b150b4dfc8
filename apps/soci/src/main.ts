import type { Host, Output } from './host.ts';
import { runCommandLine } from './program.ts';

const SIGNAL_NUMBER = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;
const FIRST_SIGNAL_STATUS = 128;

const stop = new AbortController();
let status: number | undefined;
const threads = { areAbandoned: false };
for (const [name, number] of Object.entries(SIGNAL_NUMBER)) {
  process.on(name, () => {
    if (status !== undefined) process.exit(status); // asked twice: not waiting for what is being cleaned up
    status = FIRST_SIGNAL_STATUS + number;
    stop.abort(new Error(`stopped by ${name}`));
  });
}
// A reader that had enough (`soci index list | head -1`) is not our failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

function output(stream: NodeJS.WriteStream): Output {
  const write = (text: string | Uint8Array): void => void stream.write(text);
  return stream.isTTY ? { write, terminal: stream } : { write };
}

const host: Host = {
  environment: process.env,
  stdin: process.stdin,
  stdout: output(process.stdout),
  stderr: output(process.stderr),
  signal: stop.signal,
  now: Date.now,
  abandonThreads: () => (threads.areAbandoned = true),
};
const code = await runCommandLine(process.argv.slice(2), host);
if (threads.areAbandoned) (await import('@soci/linux')).exitNow(status ?? code);
process.exit(status ?? code);
