import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/** Folder of another containerd than the installed one, with its ctr. */
const BINARIES = process.env.SOCI_TEST_CONTAINERD;

/** How the containerd under test is started. */
export function containerdOptions(directory: string): { readonly directory: string; readonly binaries?: string } {
  return BINARIES === undefined ? { directory } : { directory, binaries: BINARIES };
}

/** Why tests with containerd, and with further programs, cannot run here; false when they can. */
export function whyNot(...programs: readonly string[]): string | false {
  if (process.getuid?.() !== 0) return 'containerd needs root';
  for (const program of [BINARIES === undefined ? 'containerd' : join(BINARIES, 'containerd'), ...programs]) {
    try {
      execFileSync(program, ['--version']);
    } catch {
      return `${program} is not installed`;
    }
  }
  return false;
}
