import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { it } from 'node:test';

const MARK = 'SOCI_TEST_NAMESPACE';
const DEADLINE_MS = 120_000;

/** Why tests that mount cannot run here, or false. */
export function cannotMount(): string | false {
  if (process.getuid?.() !== 0) return 'mounting takes root';
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
    return false;
  } catch {
    return 'there is no /dev/fuse';
  }
}

/**
 * Runs the tests that `define` defines in mount and pid namespaces of their own: this file is run once more in there, so that nothing stays mounted and
 * no process is left however the tests end. Outside they are one test, skipped with the reason where mounting is not possible.
 *
 * @param file the test file that calls this: `import.meta.filename`
 */
export function inPrivateNamespace(file: string, define: () => void): void {
  if (process.env[MARK] === file) {
    define();
    return;
  }
  const name = 'in mount and pid namespaces of its own';
  const reason = cannotMount();
  it(name, { skip: reason, timeout: DEADLINE_MS }, async (t) => {
    const { status, output } = await run(file, t.signal);
    if (status === 0) t.diagnostic(output.split('\n').findLast((line) => line.includes('pass ')) ?? '');
    else throw new Error(`tests in the namespace failed with ${status}:\n${output}`);
  });
}

async function run(file: string, signal: AbortSignal): Promise<{ readonly status: number | null; readonly output: string }> {
  const node = [process.execPath, '--conditions=@soci/source', '--test-reporter=spec', file];
  const child = spawn('unshare', ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', ...node], {
    env: { ...process.env, [MARK]: file, NODE_TEST_CONTEXT: undefined }, // inherited, that would make the inner run a part of this one
    stdio: ['ignore', 'pipe', 'pipe'],
    killSignal: 'SIGKILL',
    signal,
  });
  const chunks: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once('error', reject);
  child.once('close', resolve);
  return { status: await promise, output: Buffer.concat(chunks).toString() };
}
