import { execFile } from 'node:child_process';
import { link, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { writeLayer, type WrittenLayer } from '../image/layers.ts';
import { blobFolder, writeLayout } from '../image/layout.ts';
import { readLayout, type LayoutLayer } from './layout-reader.ts';

const run = promisify(execFile);

const LAYERS = 5;
const ENTRIES = 35_000;
const FILES_A_FOLDER = 20;
const FILE_BYTES = 2_000;

export interface MetadataImage {
  /** Folder of the OCI layout. */
  readonly layout: string;
  /** Entries of all layers. */
  readonly entries: number;
}

/**
 * An image for measuring names: the first five layers of the demo's image, which are a Debian userland and a large file.
 * Where they hold too few entries, a layer of small files makes up for them.
 */
export async function makeMetadataImage(demoLayout: string, directory: string): Promise<MetadataImage> {
  const layout = join(directory, 'layout');
  const blobs = await blobFolder(layout);
  const layers = (await readLayout(demoLayout)).layers.slice(0, LAYERS);
  for (const { path, descriptor } of layers) await link(path, join(blobs, descriptor.digest.slice('sha256:'.length)));
  let entries = 0;
  for (const layer of layers) entries += await countEntries(layer);
  const written: WrittenLayer[] = [...layers];
  if (entries < ENTRIES) {
    written.push(await makeSmallFiles(join(directory, 'small-files'), ENTRIES - entries, blobs));
    entries = ENTRIES;
  }
  await writeLayout(layout, written, { Cmd: ['/bin/true'] });
  return { layout, entries };
}

async function countEntries({ path }: LayoutLayer): Promise<number> {
  const { stdout } = await run('sh', ['-c', 'tar -tzf "$1" | wc -l', 'sh', path]);
  return Number(stdout);
}

/** @param count of entries, folders counted */
async function makeSmallFiles(root: string, count: number, blobs: string): Promise<WrittenLayer> {
  const content = Buffer.alloc(FILE_BYTES, 'a line of some file in a package\n');
  let folder = '';
  for (let entry = 0; entry < count; entry++) {
    if (entry % (FILES_A_FOLDER + 1) === 0) {
      folder = join(root, 'opt', `package-${entry}`);
      await mkdir(folder, { recursive: true });
    } else await writeFile(join(folder, `file-${entry}`), content);
  }
  return await writeLayer({ name: 'small-files', root, members: ['--owner=0', '--group=0', 'opt'] }, blobs, () => undefined);
}
