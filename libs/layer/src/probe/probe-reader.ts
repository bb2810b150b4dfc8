// Run as a process of its own: a path a line on standard input; for each, the digest of what is in the file or the errno of reading it.
// It may hang in a read that nobody answers, and be killed there: the process that serves the mount must not read from it.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

createInterface({ input: process.stdin }).on('line', (path) => {
  process.stdout.write(`${outcome(path)}\n`);
});

function outcome(path: string): string {
  try {
    return createHash('sha256').update(readFileSync(path)).digest('hex');
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}
