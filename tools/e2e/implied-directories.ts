import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * Directories that some layer of an image puts files into without an entry of its own for them. What times they show depends on when an unpacker copied them up.
 * @param layers paths of gzip layers
 * @returns paths without leading `./`, as latin1 text
 */
export async function impliedDirectories(layers: readonly string[]): Promise<ReadonlySet<string>> {
  const implied = new Set<string>();
  for (const layer of layers) {
    const { stdout } = await run('tar', ['--quoting-style=literal', '-tzf', layer], { maxBuffer: 256 << 20, encoding: 'latin1' });
    const names = stdout
      .split('\n')
      .filter((name) => name !== '')
      .map((name) => name.replace(/^\.\//, ''));
    const own = new Set(names.filter((name) => name.endsWith('/')).map((name) => name.slice(0, -1)));
    for (const name of names) {
      for (let parent = parentOf(name.replace(/\/$/, '')); parent !== ''; parent = parentOf(parent)) {
        if (!own.has(parent)) implied.add(parent);
      }
    }
  }
  return implied;
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}
