import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { status, type ServiceError } from '@grpc/grpc-js';
import { parseIndex, parseManifest, parseReference } from '@soci/image';
import { Registry, Snapshotter, waitFor } from '@soci/testing';
import { pushLayout } from '../../image/push.ts';
import { mountsBelow } from '../mounts.ts';
import { makeSmallImage } from '../small-image.ts';
import { convert, LOGIN, program, scratchFolder } from '../stack.ts';
import { readTables } from './node-tables.ts';
import { Random, seedFrom } from './random.ts';
import { EMPTY, keyOf, possibleStates, type FamilyState, type Operation, type Outcome, type PastCall } from './snapshot-model.ts';
import { SnapshotsClient, type CallChoice } from './snapshots-client.ts';

const CALLS = Number(process.env['MODEL_CALLS'] ?? '1000');
const KILLS = Number(process.env['MODEL_KILLS'] ?? '20');
const seed = seedFrom(process.env['MODEL_SEED']);
const FAMILIES = 20;
const CLIENTS = 32;
const CANCELLED = 0.1;
const MAX_CALL_MS = 5_000;
/** Between two calls of a client. */
const MAX_PAUSE_MS = 1_000;
/** A call that was called off is still undone for a moment. */
const SETTLE_MS = 5_000;
/** Lazily served are those of an image; a quarter of the families. */
const LAZY_EVERY = 4;

const PLAIN: readonly Operation[] = [
  'prepare',
  'prepare',
  'commit',
  'prepare container',
  'mounts',
  'mounts of container',
  'remove',
  'remove layer',
  'remove container',
];
const LAZY: readonly Operation[] = PLAIN.map((operation) => (operation === 'prepare' ? 'prepare lazily' : operation));

describe(`${CALLS} calls on ${FAMILIES} keys by ${CLIENTS} clients, the service killed ${KILLS} times meanwhile, seed ${seed} (MODEL_SEED)`, () => {
  it('are answered as a model says, in time, and leave nothing that no table knows', { timeout: 1_800_000 }, async (t) => {
    await using resources = new AsyncDisposableStack();
    const node = await startNode(resources);
    let before: readonly FamilyState[] = Array.from({ length: FAMILIES }, () => EMPTY);
    for (let round = 0; round < KILLS; round++) {
      const calls = await workAndKill(node, round);
      const after = await settledStates(node, before, calls, round);
      await checkDisk(node);
      tell(t, calls, round);
      before = after;
    }
    await removeAll(node);
    await checkDisk(node); // layers that were prepared for a pull that was given up are kept for a while, and known
    assert.deepEqual((await readTables(node.root)).snapshotFolders, []);
  });
});

interface Node {
  readonly snapshotter: Snapshotter;
  readonly clients: readonly SnapshotsClient[];
  readonly root: string;
  /** Labels of a Prepare of the layer that is served lazily, without its target. */
  readonly imageLabels: Readonly<Record<string, string>>;
}

interface FamilyCall extends PastCall {
  readonly family: number;
  readonly detail: string;
}

async function startNode(resources: AsyncDisposableStack): Promise<Node> {
  const directory = await scratchFolder(resources);
  for (const name of ['registry', 'snapshotter', 'image']) await mkdir(join(directory, name));
  const registry = resources.use(await Registry.start({ directory: join(directory, 'registry'), login: LOGIN }));
  const plain = await makeSmallImage(join(directory, 'image'), [[{ path: 'noise', sizeBytes: 3 << 20 }]]);
  const layout = await convert(plain, join(directory, 'converted'), ['--min-layer-size', '0']);
  const reference = `${registry.host}/model/app:1`;
  await pushLayout(layout, parseReference(reference), LOGIN);
  const snapshotter = resources.use(
    await Snapshotter.start({
      directory: join(directory, 'snapshotter'),
      command: [program('agent', 'soci-snapshotter-grpc')],
      logins: { [registry.host]: `${LOGIN.username}:${LOGIN.password}` },
    }),
  );
  const clients = Array.from({ length: CLIENTS }, () => resources.use(new SnapshotsClient(snapshotter.address, '')));
  const { manifestDigest, layerDigest } = await findImage(layout);
  const prefix = 'containerd.io/snapshot/cri';
  const imageLabels = {
    [`${prefix}.image-ref`]: reference,
    [`${prefix}.manifest-digest`]: manifestDigest,
    [`${prefix}.layer-digest`]: layerDigest,
  };
  return { snapshotter, clients, root: join(directory, 'snapshotter', 'soci'), imageLabels };
}

/** The image's manifest, whether the layout names it or an index of it. */
async function findImage(layout: string): Promise<{ readonly manifestDigest: string; readonly layerDigest: string }> {
  const blob = (digest: string): Promise<Buffer> => readFile(join(layout, 'blobs', 'sha256', digest.slice('sha256:'.length)));
  const pending = [...parseIndex(await readFile(join(layout, 'index.json'))).manifests];
  for (let entry = pending.shift(); entry !== undefined; entry = pending.shift()) {
    if (entry.mediaType.includes('index')) {
      pending.push(...parseIndex(await blob(entry.digest)).manifests);
      continue;
    }
    const { config, layers } = parseManifest(await blob(entry.digest));
    const [first] = layers;
    if (config.mediaType.includes('image.config') && first !== undefined)
      return { manifestDigest: entry.digest, layerDigest: first.digest };
  }
  throw new Error(`${layout}: no image`);
}

/** All clients work, and the service is killed in the middle: those that see it gone wait until it is back. */
async function workAndKill({ snapshotter, clients, imageLabels }: Node, round: number): Promise<readonly FamilyCall[]> {
  const calls: FamilyCall[] = [];
  const perRound = Math.ceil(CALLS / KILLS);
  const killAfter = new Random(seed, round).below(perRound);
  let begun = 0;
  let killing: Promise<void> | undefined;
  let down: Promise<void> | undefined;
  const kill = async (): Promise<void> => {
    await sleep(new Random(seed, round + 500).below(50));
    snapshotter.killService('SIGKILL');
    down = backAgain(snapshotter);
    await down;
  };
  const work = clients.map(async (client, index) => {
    const random = new Random(seed, 1_000 + round * CLIENTS + index);
    await sleep(random.below(MAX_PAUSE_MS));
    await down;
    while (begun < perRound) {
      if (begun++ === killAfter) killing = kill();
      calls.push(await makeCall(client, random, imageLabels));
      await down;
      await sleep(random.below(MAX_PAUSE_MS));
    }
  });
  await Promise.all(work);
  await killing;
  return calls;
}

/** A keeper starts the service again; without one it is this test that does. */
async function backAgain(snapshotter: Snapshotter): Promise<void> {
  const isOver = await snapshotter.exited(500).then(
    () => true,
    () => false,
  );
  if (isOver) await snapshotter.startAgain();
  using client = new SnapshotsClient(snapshotter.address, '');
  const answers = (): Promise<boolean> =>
    client.list().then(
      () => true,
      () => false,
    );
  await waitFor(answers, { timeoutMs: 10_000, intervalMs: 20, what: 'the service to be back' });
}

async function makeCall(client: SnapshotsClient, random: Random, imageLabels: Node['imageLabels']): Promise<FamilyCall> {
  const family = random.below(FAMILIES);
  const isCleanup = random.chance(0.05);
  const operation = random.pick(isLazy(family) ? LAZY : PLAIN);
  const isCancelled = random.chance(CANCELLED);
  const choice = { cancelAfterMs: isCancelled ? random.below(40) : undefined };
  const beginMs = performance.now();
  const outcome = await (isCleanup ? client.cleanup(choice) : perform(client, family, operation, imageLabels, choice)).then(
    () => ({ outcome: 'ok', detail: '' }) as const,
    (error: unknown) => ({ outcome: outcomeOf(error as ServiceError), detail: (error as ServiceError).message }) as const,
  );
  const endMs = performance.now();
  // A cleanup changes no table: as if the family had not been asked for.
  return { family: isCleanup ? -1 : family, operation, beginMs, endMs, ...outcome };
}

function perform(
  client: SnapshotsClient,
  family: number,
  operation: Operation,
  imageLabels: Node['imageLabels'],
  choice: CallChoice,
): Promise<unknown> {
  const { active, layer, container } = namesOf(family);
  const target = isLazy(family) ? { 'containerd.io/snapshot.ref': layer } : {};
  switch (operation) {
    case 'prepare':
      return client.prepare(active, '', {}, choice);
    case 'prepare lazily':
      return client.prepare(active, '', { ...imageLabels, ...target }, choice);
    case 'commit':
      return client.commit(active, layer, target, choice);
    case 'prepare container':
      return client.prepare(container, layer, {}, choice);
    case 'mounts':
      return client.mounts(active, choice);
    case 'mounts of container':
      return client.mounts(container, choice);
    case 'remove':
      return client.remove(active, choice);
    case 'remove layer':
      return client.remove(layer, choice);
    case 'remove container':
      return client.remove(container, choice);
  }
}

/** Calls that a kill cut off, or that were called off, say nothing; nor does one that lost its layer under way. */
function outcomeOf({ code, message }: ServiceError): Outcome {
  switch (code) {
    case status.NOT_FOUND:
      return 'NOT_FOUND';
    case status.ALREADY_EXISTS:
      return 'ALREADY_EXISTS';
    case status.FAILED_PRECONDITION:
      return 'FAILED_PRECONDITION';
    case status.UNAVAILABLE:
    case status.CANCELLED:
      return 'unknown';
    default:
      throw new Error(`a call was answered with ${code}: ${message}`);
  }
}

function isLazy(family: number): boolean {
  return family % LAZY_EVERY === 0;
}

function namesOf(family: number): { readonly active: string; readonly layer: string; readonly container: string } {
  const digest = createHash('sha256').update(String(family)).digest('hex');
  return { active: `k8s.io/${family}/extract`, layer: `sha256:${digest}`, container: `k8s.io/${family}/container` };
}

async function statesOf({ clients: [client] }: Node): Promise<readonly FamilyState[]> {
  assert.ok(client);
  const infos = await client.list();
  const names = new Set(infos.map(({ name }) => name));
  const states = Array.from({ length: FAMILIES }, (_, family) => {
    const { active, layer, container } = namesOf(family);
    return { active: names.delete(active), layer: names.delete(layer), container: names.delete(container) };
  });
  assert.deepEqual([...names], [], 'snapshots that nobody made');
  return states;
}

/** What the tables hold, which is one of the things that the calls can have led to. */
async function settledStates(
  node: Node,
  before: readonly FamilyState[],
  calls: readonly FamilyCall[],
  round: number,
): Promise<readonly FamilyState[]> {
  const slow = calls.filter(({ outcome, beginMs, endMs }) => outcome !== 'unknown' && endMs - beginMs > MAX_CALL_MS);
  assert.deepEqual(slow, [], 'calls took too long');
  const possible = before.map((state, family) =>
    possibleStates(
      state,
      calls.filter((call) => call.family === family),
    ).map(keyOf),
  );
  let after: readonly FamilyState[] = [];
  const wrong = (): number => after.findIndex((state, family) => possible[family]?.includes(keyOf(state)) !== true);
  const isSettled = async (): Promise<boolean> => {
    after = await statesOf(node);
    return wrong() < 0;
  };
  await waitFor(isSettled, { timeoutMs: SETTLE_MS, intervalMs: 50, what: 'the tables to be as the calls can have left them' }).catch(
    (cause: unknown) => {
      const family = wrong();
      const became = `${keyOf(before[family] ?? EMPTY)} became ${keyOf(after[family] ?? EMPTY)}, possible: ${possible[family]?.join() ?? ''}`;
      const story = calls
        .filter((call) => call.family === family)
        .map(
          ({ operation, outcome, beginMs, endMs, detail }) =>
            `${Math.round(beginMs)}-${Math.round(endMs)} ${operation}: ${outcome} ${detail}`,
        );
      throw new Error(`seed ${seed}, round ${round}, family ${family}: ${became}\n${story.join('\n')}`, { cause });
    },
  );
  return after;
}

/** Every folder belongs to a snapshot or layer of the tables, and every snapshot has one. */
async function checkDisk({ clients: [client], root }: Node): Promise<void> {
  await client?.cleanup();
  const { ids, layers, snapshotFolders, layerFolders, leftovers } = await readTables(root);
  assert.deepEqual(snapshotFolders.toSorted(), [...ids.values()].map(String).toSorted());
  assert.deepEqual(
    layerFolders.filter((key) => !layers.has(key)),
    [],
  );
  assert.deepEqual(leftovers, []);
  const folders = new Set([...ids.values()].map((id) => join(root, 'snapshotter', 'snapshots', String(id), 'fs')));
  const mounts = (await mountsBelow(join(root, 'snapshotter'))).map(({ target }) => target);
  assert.deepEqual(
    mounts.filter((target) => !folders.has(target)),
    [],
  );
}

function tell(t: TestContext, calls: readonly FamilyCall[], round: number): void {
  const counts: Record<string, number> = {};
  for (const { outcome } of calls) counts[outcome] = (counts[outcome] ?? 0) + 1;
  const known = calls.filter(({ outcome }) => outcome !== 'unknown').map(({ beginMs, endMs }) => endMs - beginMs);
  t.diagnostic(`round ${round}: ${JSON.stringify(counts)}, the longest call ${Math.round(Math.max(0, ...known))} ms`);
}

async function removeAll({ clients: [client] }: Node): Promise<void> {
  assert.ok(client);
  for (let family = 0; family < FAMILIES; family++) {
    const { active, layer, container } = namesOf(family);
    for (const name of [active, container, layer]) {
      await client.remove(name).catch((error: unknown) => assert.equal((error as ServiceError).code, status.NOT_FOUND));
    }
  }
  await client.cleanup();
}
