import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface HelperOptions {
  /** A folder on the PATH of who runs it. */
  readonly folder: string;
  /** After `docker-credential-`. */
  readonly name: string;
  /** What it prints, on both of its outputs. */
  readonly answer: string;
  readonly exitStatus?: number;
  /** Shell lines that run first. */
  readonly before?: string;
}

/** Writes a credential helper as `credHelpers` of config.json names one. */
export async function writeHelper({ folder, name, answer, exitStatus = 0, before = '' }: HelperOptions): Promise<void> {
  const file = join(folder, `${name}.answer`);
  await writeFile(file, answer, { mode: 0o600 });
  const script = `#!/bin/sh\n${before}\ncat > /dev/null\ncat ${file}\ncat ${file} >&2\nexit ${exitStatus}\n`;
  await writeFile(join(folder, `docker-credential-${name}`), script, { mode: 0o755 });
}

/** Shell lines by which a program appends to a file what others can see of it: its arguments and environment, and the arguments of who started it. */
export function confess(file: string): string {
  return `cat /proc/$$/cmdline /proc/$$/environ /proc/$PPID/cmdline >> ${file}`;
}
