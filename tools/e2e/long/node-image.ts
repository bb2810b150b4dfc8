import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseIndex, parseManifest } from '@soci/image';
import { makeSmallImage, type FileSpec } from '../small-image.ts';
import { convert, type Stack } from '../stack.ts';
import type { SnapshotMount, SnapshotsClient } from './snapshots-client.ts';

const run = promisify(execFile);
/** Longer than a read may wait for the registry. */
const READ_MS = 60_000;

/** An image in the registry, and what its files hold. */
export interface NodeImage {
  readonly reference: string;
  /** Names of its committed snapshots, the lowest first. */
  readonly chainIds: readonly string[];
  /** SHA-256 of each file, by path. */
  readonly digests: ReadonlyMap<string, string>;
}

/** Makes an image of noise and pushes it. @param isIndexed whether it can be served lazily */
export async function pushNodeImage(
  stack: Stack,
  directory: string,
  name: string,
  layers: readonly (readonly FileSpec[])[],
  isIndexed: boolean,
): Promise<NodeImage> {
  const plain = await makeSmallImage(directory, layers);
  const layout = isIndexed ? await convert(plain, join(directory, 'converted'), ['--min-layer-size', '0']) : plain;
  const digests = new Map<string, string>();
  for (const [index, files] of layers.entries()) {
    for (const { path } of files) digests.set(path, await sha256(join(directory, `layer-${index}`, path)));
  }
  return { reference: await stack.push(layout, name), chainIds: await chainIdsOf(plain), digests };
}

/** The digest of a file as a process of its own reads it. */
export async function sha256(path: string): Promise<string> {
  const { stdout } = await run('sha256sum', [path], { timeout: READ_MS, killSignal: 'SIGKILL' });
  return stdout.slice(0, 64);
}

/** Mounts a view of an image for as long as `use` runs. A view that cannot be removed afterwards is left in containerd. */
export async function withView<T>(
  client: SnapshotsClient,
  { chainIds }: NodeImage,
  { directory, key }: { readonly directory: string; readonly key: string },
  use: (root: string) => Promise<T>,
): Promise<T> {
  const mounts = await client.view(key, chainIds.at(-1) ?? '');
  try {
    const root = await mkdtemp(join(directory, 'view-'));
    await mount(mounts, root);
    try {
      return await use(root);
    } finally {
      await run('umount', ['--lazy', root]);
      await rmdir(root);
    }
  } finally {
    await client.remove(key);
  }
}

async function mount(mounts: readonly SnapshotMount[], target: string): Promise<void> {
  for (const { type, source, options } of mounts) {
    const kind = type === 'bind' ? [] : ['-t', type];
    await run('mount', [...kind, '-o', options.join(), source, target]);
  }
}

/** @see https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid */
async function chainIdsOf(layout: string): Promise<readonly string[]> {
  const blob = (digest: string): Promise<Buffer> => readFile(join(layout, 'blobs', 'sha256', digest.slice('sha256:'.length)));
  const [entry] = parseIndex(await readFile(join(layout, 'index.json'))).manifests;
  const { config } = parseManifest(await blob(entry?.digest ?? ''));
  const { rootfs } = JSON.parse((await blob(config.digest)).toString()) as { readonly rootfs: { readonly diff_ids: readonly string[] } };
  const chain: string[] = [];
  for (const diffId of rootfs.diff_ids) {
    const below = chain.at(-1);
    chain.push(below === undefined ? diffId : `sha256:${createHash('sha256').update(`${below} ${diffId}`).digest('hex')}`);
  }
  return chain;
}
