import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { randomFillSync } from 'node:crypto';
import { join } from 'node:path';
import { writeLayer, type LayerSource } from '../image/layers.ts';
import { blobFolder, writeLayout } from '../image/layout.ts';

export interface FileSpec {
  /** Path below the layer's root. */
  readonly path: string;
  /** Noise, so that it does not compress and fills spans. */
  readonly sizeBytes: number;
}

/**
 * An image for tests: a base layer with busybox, and one layer of noise for each given list of files.
 * @returns the folder of the layout
 */
export async function makeSmallImage(
  directory: string,
  layers: readonly (readonly FileSpec[])[],
  command: readonly string[] = ['/bin/sh', '-c', 'echo ready'],
): Promise<string> {
  const layout = join(directory, 'layout');
  const blobs = await blobFolder(layout);
  const sources: LayerSource[] = [
    { name: 'base', root: await makeBase(join(directory, 'base')), members: ['--owner=0', '--group=0', '.'] },
  ];
  for (const [index, files] of layers.entries()) {
    const root = join(directory, `layer-${index}`);
    await mkdir(root, { recursive: true });
    for (const { path, sizeBytes } of files) {
      await mkdir(join(root, path, '..'), { recursive: true });
      await writeFile(join(root, path), randomFillSync(Buffer.alloc(sizeBytes)));
    }
    sources.push({ name: `layer-${index}`, root, members: ['--owner=0', '--group=0', '.'] });
  }
  const written = [];
  for (const source of sources) written.push(await writeLayer(source, blobs, () => undefined));
  await writeLayout(layout, written, { Env: ['PATH=/bin'], Cmd: command });
  return layout;
}

/** A root file system of busybox. */
export async function makeBase(root: string): Promise<string> {
  await mkdir(join(root, 'bin'), { recursive: true });
  await copyFile('/bin/busybox', join(root, 'bin', 'busybox'));
  for (const name of ['sh', 'cat', 'echo', 'sleep', 'ls', 'sha256sum']) await symlink('busybox', join(root, 'bin', name));
  return root;
}
