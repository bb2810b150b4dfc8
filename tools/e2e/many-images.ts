import { randomFillSync } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeLayer } from '../image/layers.ts';
import { blobFolder, writeLayout } from '../image/layout.ts';
import { convertInProcess } from './convert-in-process.ts';

const FILE_BYTES = 16 << 10;

/** Images of one small layer each, with indexes, which have nothing in common. @returns the folders of their layouts */
export async function makeManyImages(directory: string, count: number): Promise<readonly string[]> {
  const layouts: string[] = [];
  for (let number = 0; number < count; number++) {
    const folder = join(directory, String(number));
    const root = join(folder, 'root');
    await mkdir(root, { recursive: true });
    await writeFile(join(root, 'noise'), randomFillSync(Buffer.alloc(FILE_BYTES)));
    const plain = join(folder, 'plain');
    const layer = await writeLayer({ name: 'layer', root, members: ['.'] }, await blobFolder(plain), () => undefined);
    await writeLayout(plain, [layer], {});
    layouts.push(await convertInProcess(plain, join(folder, 'converted')));
  }
  return layouts;
}
