import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The SHA-256 of a file in hex. A process of its own reads it: one that hangs or fails in a lazy mount must not be this one. */
export async function sha256(path: string, timeoutMs = 60_000): Promise<string> {
  return (await run('sha256sum', [path], { timeout: timeoutMs })).stdout.slice(0, 64);
}
