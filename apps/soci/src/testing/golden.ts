import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { ContainerdImages, ContainerdStore, openLease, type ContainerdApi, type Lease } from '@soci/content';
import { parseIndex, type Descriptor } from '@soci/image';

/** Made by the Go tool; see the README beside it. */
const ARCHIVE = join(import.meta.dirname, '../../../../libs/index/testdata/golden.tar.zst');

/** One `create` run of the Go tool, and what it said afterwards. */
export interface CreateCase {
  readonly image: string;
  readonly name: string;
  readonly args: readonly string[];
  /** Digests of all blobs that the run made. */
  readonly made: readonly string[];
}

/** A command of a session, with its output and exit status. */
export interface SessionStep {
  readonly args: readonly string[];
  readonly output: string;
  readonly exit: number;
}

export async function unpackGolden(directory: string): Promise<void> {
  const tar = spawn('tar', ['-x', '-C', directory], { stdio: ['pipe', 'inherit', 'inherit'] });
  const exited = once(tar, 'exit');
  tar.stdin.end(zstdDecompressSync(await readFile(ARCHIVE)));
  const [code] = (await exited) as [number];
  if (code !== 0) throw new Error(`tar exited with ${code}`);
}

interface DigestTable {
  readonly [image: string]: Readonly<
    Record<string, { readonly command: string; readonly new?: Readonly<Record<string, readonly string[]>> }>
  >;
}

export async function listCreateCases(directory: string): Promise<readonly CreateCase[]> {
  const table = JSON.parse(await readFile(join(directory, 'golden/digests.json'), 'utf8')) as DigestTable;
  return Object.entries(table).flatMap(([image, runs]) =>
    Object.entries(runs)
      .filter(([name]) => name.startsWith('create'))
      .map(([name, run]) => ({ image, name, args: run.command.split(' ').slice(1), made: Object.values(run.new ?? {}).flat() })),
  );
}

/** The steps of the session, and of the files with the description of each zTOC. */
export async function readSession(directory: string, { image, name }: CreateCase): Promise<readonly SessionStep[]> {
  const folder = join(directory, 'golden', image, name);
  const files = (await readdir(folder)).filter((file) => file.startsWith('ztoc-info-'));
  const texts = await Promise.all([...files, 'session'].map((file) => readFile(join(folder, file), 'utf8')));
  return texts.flatMap(parseSteps);
}

function parseSteps(text: string): readonly SessionStep[] {
  return [...text.matchAll(/^\$ soci (.*)\n([^]*?)^exit (\d+)\n/gm)].map(([, command = '', output = '', exit]) => ({
    args: command.split(' '),
    output,
    exit: Number(exit),
  }));
}

/** Puts a layout's blobs and a name for its one image into containerd. They stay until the lease is disposed of. */
export async function importLayout(api: ContainerdApi, layout: string, name: string, signal: AbortSignal): Promise<Lease> {
  const lease = await openLease(api, {}, signal);
  const store = new ContainerdStore({ api, leaseId: lease.id });
  const blobs = join(layout, 'blobs/sha256');
  for (const hex of await readdir(blobs)) {
    const bytes = await readFile(join(blobs, hex));
    await store.write({ mediaType: 'application/octet-stream', digest: `sha256:${hex}`, size: bytes.length }, bytes, {}, signal);
  }
  const [entry] = parseIndex(await readFile(join(layout, 'index.json'))).manifests;
  if (entry === undefined) throw new Error(`${layout}: no image`);
  const target: Descriptor = { mediaType: entry.mediaType, digest: entry.digest, size: entry.size };
  await new ContainerdImages(api).put({ name, target, labels: {} }, signal);
  return lease;
}
