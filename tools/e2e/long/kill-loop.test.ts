import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '@soci/errors';
import { waitFor } from '@soci/testing';
import { mountsBelow } from '../mounts.ts';
import { scratchFolder, Stack } from '../stack.ts';
import { NodeActivity } from './node-activity.ts';
import { pushNodeImage, sha256, withView, type NodeImage } from './node-image.ts';
import { readTables } from './node-tables.ts';
import { Random, seedFrom } from './random.ts';
import { SnapshotsClient } from './snapshots-client.ts';

const ROUNDS = Number(process.env['KILL_ROUNDS'] ?? '20');
const seed = seedFrom(process.env['KILL_SEED']);
const MEBIBYTE = 1 << 20;
const MAX_BUSY_MS = 4_000;
const MAX_START_MS = 10_000;
/** containerd waits longer and longer before it connects again. */
const RECONNECT_MS = 60_000;
const REMOTE = 'containerd.io/snapshot/remote';
/** Layers become whole while it goes on: some are mounted over FUSE, some over files. */
const CONFIG = '[background_fetch]\nsilence_period_msec = 300\nfetch_period_msec = 50\n';

describe(`a service killed ${ROUNDS} times at random moments, seed ${seed} (KILL_SEED)`, () => {
  it('comes back with every snapshot and the right bytes, and leaves nothing behind', { timeout: 60_000 + ROUNDS * 90_000 }, async (t) => {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    await using stack = await Stack.start({ config: CONFIG });
    const images = await pushImages(stack, directory);
    using containerd = new SnapshotsClient(stack.containerd.address, 'soci');
    using service = new SnapshotsClient(stack.snapshotter.address, '');
    const node: Node = { stack, containerd, service, images };
    const random = new Random(seed);
    await withLogs(stack, async () => {
      let mounted = 0;
      for (let round = 0; round < ROUNDS; round++) {
        const { done, startMs } = await killWhileBusy(node, random, round);
        const lazy = await checkSnapshots(node);
        t.diagnostic(`round ${round}: ${JSON.stringify({ ...done, lazy })}, up again after ${Math.round(startMs)} ms`);
        mounted += lazy;
        await checkBytes(node);
        await checkFolders(node);
      }
      assert.ok(mounted > 0, 'no layer was served lazily in any round');
      await removeAll(node);
      await stack.snapshotter.stop();
      assert.deepEqual(await mountsOf(stack), [], 'mounts are left');
    });
  });
});

interface Node {
  readonly stack: Stack;
  readonly containerd: SnapshotsClient;
  readonly service: SnapshotsClient;
  readonly images: readonly NodeImage[];
}

/** The ends of the logs go with what failed: the folder they are in is removed. */
async function withLogs({ directory, snapshotter }: Stack, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (cause) {
    const paths = [snapshotter.logPath, join(directory, 'containerd', 'containerd.log')];
    const logs = await Promise.all(paths.map(async (path) => `${path}\n${(await readFile(path, 'utf8')).slice(-8_000)}`));
    throw new Error(`seed ${seed}: ${describeError(cause)}\n${logs.join('\n')}`, { cause });
  }
}

/** Three images with one base: two that are served lazily, one that has no index. */
async function pushImages(stack: Stack, directory: string): Promise<readonly NodeImage[]> {
  const small = Array.from({ length: 20 }, (_, i) => ({ path: `small/${i}`, sizeBytes: 3_000 + i }));
  const specs = [
    {
      name: 'kill/first:1',
      layers: [[{ path: 'first/one', sizeBytes: 5 * MEBIBYTE }, ...small], [{ path: 'first/two', sizeBytes: 2 * MEBIBYTE }]],
    },
    { name: 'kill/second:1', layers: [[{ path: 'second/one', sizeBytes: 9 * MEBIBYTE }]] },
    { name: 'kill/plain:1', layers: [[{ path: 'plain/one', sizeBytes: MEBIBYTE }]] },
  ];
  const images: NodeImage[] = [];
  for (const [index, { name, layers }] of specs.entries()) {
    const folder = join(directory, `image-${index}`);
    await mkdir(folder);
    images.push(await pushNodeImage(stack, folder, name, layers, index < 2));
  }
  return images;
}

/** @returns what was done until the kill, and how long the start after it took */
async function killWhileBusy(
  { stack, containerd, images }: Node,
  random: Random,
  round: number,
): Promise<{ readonly done: NodeActivity['done']; readonly startMs: number }> {
  const activity = new NodeActivity(stack, containerd, images);
  const busy = [0, 1].map((worker) => activity.run(new Random(seed, 1 + 2 * round + worker)));
  await sleep(random.below(MAX_BUSY_MS));
  const begin = performance.now();
  if (random.chance(0.5)) await killService(stack);
  else {
    await stack.snapshotter.killAll();
    if (random.chance(0.5)) await killWhileStarting(stack, random);
    await stack.snapshotter.startAgain();
  }
  const startMs = performance.now() - begin;
  activity.stop();
  await Promise.all(busy);
  assert.deepEqual(activity.wrong, [], 'reads gave wrong bytes');
  assert.ok(startMs < MAX_START_MS, `up again after ${Math.round(startMs)} ms`);
  return { done: activity.done, startMs };
}

/** The service alone: its keeper starts it again. */
async function killService({ snapshotter }: Stack): Promise<void> {
  const { services } = snapshotter.processes();
  assert.equal(services.length, 1, `services: ${services.join()}`);
  snapshotter.killService('SIGKILL');
  const isBack = async (): Promise<boolean> => {
    const next = snapshotter.processes().services;
    return next.length === 1 && next[0] !== services[0] && (await isListening(snapshotter.address));
  };
  await waitFor(isBack, { timeoutMs: MAX_START_MS, intervalMs: 20, what: 'the service to be started again' });
}

function isListening(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address, () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}

async function killWhileStarting(stack: Stack, random: Random): Promise<void> {
  const started = stack.snapshotter.startAgain().then(
    () => true,
    () => false, // it was killed before it was ready
  );
  await waitFor(() => stack.snapshotter.processes().services.length > 0, {
    timeoutMs: 10_000,
    intervalMs: 5,
    what: 'the service to begin',
  });
  await sleep(random.below(600));
  await stack.snapshotter.killAll();
  await started;
}

/** Every snapshot that containerd lists, and every layer of every image it has, is there; lazy ones are mounted. @returns how many those are */
async function checkSnapshots({ stack, containerd, service, images }: Node): Promise<number> {
  await waitFor(() => touch(containerd), { timeoutMs: RECONNECT_MS, intervalMs: 100, what: 'containerd to reach the service' });
  for (const { name } of await containerd.list()) assert.equal((await containerd.stat(name))?.name, name);
  for (const { chainIds } of await present(stack, images)) {
    for (const chainId of chainIds) assert.equal((await containerd.stat(chainId))?.name, chainId);
  }
  const { ids } = await readTables(rootOf(stack));
  const lazy = (await service.list()).filter(({ labels }) => labels[REMOTE] !== undefined);
  let missing: readonly string[] = [];
  const areMounted = async (): Promise<boolean> => {
    const mounted = new Set((await mountsOf(stack)).map(({ target }) => target));
    const folderOf = (name: string): string => join(rootOf(stack), 'snapshotter', 'snapshots', String(ids.get(name)), 'fs');
    missing = lazy.map(({ name }) => name).filter((name) => !mounted.has(folderOf(name)));
    return missing.length === 0;
  };
  await waitFor(areMounted, { timeoutMs: MAX_START_MS, intervalMs: 50, what: 'lazy snapshots to be mounted' }).catch((cause: unknown) => {
    throw new Error(`not mounted: ${missing.join()}`, { cause });
  });
  return lazy.length;
}

async function checkBytes({ stack, containerd, images }: Node): Promise<void> {
  for (const image of await present(stack, images)) {
    await withView(containerd, image, { directory: stack.directory, key: `check-${Date.now()}-${image.reference}` }, async (root) => {
      for (const [path, digest] of image.digests) assert.equal(await sha256(join(root, path)), digest, `${image.reference} ${path}`);
    });
  }
}

/** After a cleanup there is no folder that no table knows. Layers that were prepared for a pull that was given up are kept for a while. containerd may still be removing snapshots meanwhile, so there are several. */
async function checkFolders({ stack, service }: Node): Promise<void> {
  let unknown: readonly string[] = [];
  const isClean = async (): Promise<boolean> => {
    await service.cleanup();
    const tables = await readTables(rootOf(stack));
    const ids = new Set([...tables.ids.values()].map(String));
    unknown = [
      ...tables.snapshotFolders.filter((name) => !ids.has(name)),
      ...tables.layerFolders.filter((key) => !tables.layers.has(key)),
      ...tables.leftovers,
    ];
    return unknown.length === 0;
  };
  await waitFor(isClean, { timeoutMs: 10_000, intervalMs: 200, what: 'cleanups to leave no folder that nobody knows' }).catch(
    (cause: unknown) => {
      throw new Error(`folders that nobody knows: ${unknown.join(' ')}`, { cause });
    },
  );
}

async function removeAll({ stack, containerd, service }: Node): Promise<void> {
  for (const { name } of (await containerd.list()).filter(({ name }) => !name.startsWith('sha256:'))) await containerd.remove(name);
  const names = (await stack.containerd.ctr(['images', 'ls', '-q'])).split('\n').filter((name) => name !== '');
  if (names.length > 0) await stack.containerd.ctr(['images', 'rm', '--sync', ...names]);
  await collectGarbage(stack, containerd);
  const left = async (): Promise<readonly string[]> => (await service.list()).map(({ name }) => name);
  await waitFor(async () => (await left()).length === 0, { timeoutMs: 30_000, what: 'containerd to remove all snapshots' }).catch(
    async (cause: unknown) => {
      throw new Error(`snapshots are left: ${JSON.stringify([await left(), await containerd.list()])}`, { cause });
    },
  );
  await service.cleanup();
  assert.deepEqual((await readTables(rootOf(stack))).snapshotFolders, []);
}

/**
 * containerd collects at once when a lease is deleted so; those of pulls that were cut off go too. It looks at a snapshotter only when it has removed a snapshot since it looked last,
 * and forgets to when the service was away then: so one is made and removed.
 */
async function collectGarbage({ containerd }: Stack, client: SnapshotsClient): Promise<void> {
  await touch(client);
  await containerd.ctr(['leases', 'create', '--id', 'collect']);
  const ids = (await containerd.ctr(['leases', 'ls', '-q'])).split('\n').filter((id) => id !== '');
  for (const id of ids) await containerd.ctr(['leases', 'rm', '--sync', id]);
}

/** Makes a snapshot and removes it. */
async function touch(client: SnapshotsClient): Promise<boolean> {
  const key = `touch-${performance.now()}`;
  await client.view(key, '');
  await client.remove(key);
  return true;
}

async function present({ containerd }: Stack, images: readonly NodeImage[]): Promise<readonly NodeImage[]> {
  const names = new Set((await containerd.ctr(['images', 'ls', '-q'])).split('\n'));
  return images.filter(({ reference }) => names.has(reference));
}

async function mountsOf({ directory }: Stack): ReturnType<typeof mountsBelow> {
  return (await mountsBelow(directory)).filter(({ type }) => type === 'erofs' || type.startsWith('fuse'));
}

/** `--root` of the service. */
function rootOf({ directory }: Stack): string {
  return join(directory, 'snapshotter', 'soci');
}
