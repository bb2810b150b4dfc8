import { readFile } from 'node:fs/promises';

export interface MountLine {
  readonly target: string;
  readonly type: string;
}

/** The mounts below a folder, in the order of the kernel's table. */
export async function mountsBelow(folder: string): Promise<readonly MountLine[]> {
  const table = await readFile('/proc/self/mounts', 'utf8');
  return table
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, target]) => target?.startsWith(`${folder}/`))
    .map(([, target = '', type = '']) => ({ target, type }));
}

/** How many layers below a folder are mounted from an EROFS image. */
export async function lazyLayers(folder: string): Promise<number> {
  return (await mountsBelow(folder)).filter(({ type }) => type === 'erofs').length;
}
