import { execFile, execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { parseConfig } from '@soci/config';
import { FuseState } from '@soci/fuse';
import { collectLogs, type LogCollector } from '@soci/log';
import { createSnapshotter, type RunningSnapshotter } from '../create-snapshotter.ts';
import { LABEL } from '../labels.ts';
import { BlobFolder } from './blob-folder.ts';

const never = new AbortController().signal;
const run = promisify(execFile);
export const CONFIG = '[background_fetch]\ndisable = true\n[blob]\nread_timeout_sec = 2\n';

export interface Probe {
  readonly mode: 'erofs' | 'none';
  readonly reason: string;
}

export const GOOD_KERNEL: Probe = { mode: 'erofs', reason: 'not asked' };

export interface TestNode {
  readonly root: string;
  readonly source: BlobFolder;
  readonly logs: LogCollector;
  /** Starts the snapshotter, as a new process would. */
  readonly start: (probe?: Probe, onBroken?: (error: Error) => void) => Promise<RunningSnapshotter>;
}

/**
 * A machine with an image in a registry. @param isKept somebody holds the FUSE device while processes come and go
 * Its files are on a disk: the kernel takes no EROFS image from a tmpfs. */
export async function makeNode(t: TestContext, image: string, { notReadyWaitMs = 10_000, isKept = false } = {}): Promise<TestNode> {
  const root = await mkdtemp('/var/tmp/soci-snapshots-');
  t.after(async () => {
    for (const path of mountsBelow(root)) execFileSync('umount', ['-l', path]);
    await rm(root, { recursive: true });
  });
  const source = await BlobFolder.open(image);
  const logs = collectLogs();
  const keptFd = isKept ? openSync('/dev/fuse', 'r+') : undefined;
  const fuseState = isKept ? await FuseState.open(undefined) : undefined;
  if (keptFd !== undefined) t.after(() => closeSync(keptFd));
  return {
    root,
    source,
    logs,
    start: async (probe = GOOD_KERNEL, onBroken = () => undefined) => {
      const fd = keptFd ?? openSync('/dev/fuse', 'r+');
      const fuse = { kind: 'open', fd } as const;
      const options = {
        root,
        fuse,
        fetcher: source,
        config: parseConfig(CONFIG, 'test').config,
        log: logs.log,
        notReadyWaitMs,
        fuseState,
        leavesMount: () => isKept,
      };
      const running = await createSnapshotter({ ...options, onBroken, probe: () => Promise.resolve(probe) }, never);
      await running.restored;
      return {
        ...running,
        [Symbol.asyncDispose]: async () => {
          await running[Symbol.asyncDispose]();
          if (fd !== keptFd) closeSync(fd);
        },
      };
    },
  };
}

export function mountsBelow(root: string): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${root}/`))
    .reverse();
}

export function lazyMounts(root: string): string[] {
  return mountsBelow(join(root, 'snapshotter'));
}

/** Prepares all layers of the image as containerd does. @returns the outcome of each, and the name of the last snapshot */
export async function pull(
  { snapshotter }: RunningSnapshotter,
  { manifestDigest, layers }: BlobFolder,
  namespace = 'k8s.io',
  reference = 'registry.example.com/app:1',
): Promise<{ codes: string[]; top: string }> {
  const codes: string[] = [];
  let parent = '';
  for (const [index, digest] of layers.entries()) {
    const target = `sha256:${namespace}-chain-${index}`;
    const labels = {
      [LABEL.target]: target,
      [LABEL.imageRef]: reference,
      [LABEL.manifestDigest]: manifestDigest,
      [LABEL.layerDigest]: digest,
    };
    const key = `${namespace}/${index}/extract ${target}`;
    try {
      await snapshotter.prepare({ key, parent, labels }, never);
      codes.push('mounts');
      await snapshotter.commit(key, target, { labels: { [LABEL.target]: target } }, never);
    } catch (error) {
      codes.push((error as { code: string }).code);
    }
    parent = target;
  }
  return { codes, top: parent };
}

/** Hashes a file in another process: this one serves it. */
export async function sha256(path: string): Promise<string> {
  return (await run('sha256sum', [path], { timeout: 20_000 })).stdout.slice(0, 64);
}

/** The digest of a file in a layer of the folder, by tar. */
export function expected(source: BlobFolder, layer: number, name: string): string {
  const tar = gunzipSync(readFileSync(join(source.folder, (source.layers[layer] ?? '').slice(7))));
  return execFileSync('sh', ['-c', `tar xO ${name} | sha256sum`], { input: tar })
    .toString()
    .slice(0, 64);
}

export function filesOf(source: BlobFolder, layer: number): string[] {
  const tar = gunzipSync(readFileSync(join(source.folder, (source.layers[layer] ?? '').slice(7))));
  const names = execFileSync('tar', ['t'], { input: tar }).toString().split('\n');
  return names.filter((name) => name !== '' && !name.endsWith('/'));
}
