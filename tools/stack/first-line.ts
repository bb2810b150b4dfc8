import type { ChildProcessByStdio } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

/** Waits for the line that begins with `start`, and for the program to end well. @returns when the line came, by `performance.now()` */
export async function firstLine(child: ChildProcessByStdio<null, Readable, Readable>, start: string): Promise<number> {
  let output = '';
  let at: number | undefined;
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
  createInterface(child.stdout).on('line', (text) => {
    output += `${text}\n`;
    if (text.startsWith(start)) at ??= performance.now();
  });
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  if (code !== 0 || at === undefined)
    throw new Error(`the container ended with ${code ?? 'a signal'} and no line \`${start}\`:\n${output}`);
  return at;
}
