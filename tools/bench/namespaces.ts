import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..', '..');

/**
 * Runs a program of ours in mount and pid namespaces of its own, with a scratch folder as its first arguments (`--scratch FOLDER`).
 * However it ends, no process and no mount is left, and then the folder goes too.
 * @returns its exit code
 */
export async function runInNamespaces(program: string, args: readonly string[]): Promise<number> {
  await mkdir(join(ROOT, 'tmp'), { recursive: true });
  const scratch = await mkdtemp(join(ROOT, 'tmp', 'bench-'));
  try {
    const command = [process.execPath, '--conditions=@soci/source', program, '--scratch', scratch, ...args];
    const child = spawn(join(ROOT, 'tools', 'in-namespaces.sh'), command, { stdio: 'inherit' });
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill('SIGKILL')); // its whole namespace ends with it
    return await new Promise<number>((resolve, reject) => child.on('error', reject).on('close', (code) => resolve(code ?? 1)));
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
