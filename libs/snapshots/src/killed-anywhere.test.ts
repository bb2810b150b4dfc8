import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inPrivateNamespace } from '@soci/linux/testing';
import type { RunningSnapshotter } from './create-snapshotter.ts';
import { lazyMounts, makeNode, type TestNode } from './testing/test-node.ts';
import { pullKey, WORKLOAD } from './testing/workload.ts';

const signal = new AbortController().signal;
const IMAGE = 'twice';
/** How many steps are tried, spread over all of them; 0: every one. */
const POINTS = Number(process.env['KILL_POINTS'] ?? '8');
const PROGRAM = join(import.meta.dirname, 'testing', 'killed-workload.ts');

interface Killed {
  readonly node: TestNode;
  /** Names that there have to be, one or the other set. */
  readonly allowed: readonly ReadonlySet<string>[];
  readonly where: string;
  readonly steps: number;
}

/** Works until the step, and is killed there. */
async function workUntil(t: TestContext, killAt: number): Promise<Killed> {
  const node = await makeNode(t, IMAGE);
  const journal = join(node.root, 'journal');
  await writeFile(journal, '');
  const child = spawn(process.execPath, ['--conditions=@soci/source', PROGRAM, node.root, IMAGE, journal, String(killAt)], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const [, killedBy] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  assert.equal(killedBy, 'SIGKILL');
  const lines = (await readFile(journal, 'utf8')).split('\n');
  const begun = lines.filter((line) => line.startsWith('begin')).length;
  const ended = lines.filter((line) => line.startsWith('end')).length;
  const after = (count: number): ReadonlySet<string> =>
    WORKLOAD.slice(0, count).reduce<ReadonlySet<string>>((names, step) => step.after(names), new Set());
  const steps = Number(/^steps (\d+)$/.exec(lines.at(-2) ?? '')?.[1] ?? '0');
  const where = `killed at step ${killAt}, in ${begun === ended ? 'no call' : (WORKLOAD[ended]?.name ?? '')}`;
  return { node, allowed: [after(ended), after(begun)], where, steps };
}

async function check({ node, allowed, where }: Killed): Promise<void> {
  await using running = await node.start();
  const names = running.snapshotter.list([]).map(({ name }) => name);
  const lasting = names.filter((name) => ![0, 1].some((index) => name === pullKey(index))); // a layer that was being pulled
  assert.ok(
    allowed.some((set) => set.size === lasting.length && lasting.every((name) => set.has(name))),
    `${where}: ${names.join()}`,
  );
  assert.deepEqual(running.view.state().restore.notRestored, [], where);
  await assertKnown(node, where);
  await use(running, where);
  for (const name of leavesFirst(running)) await running.snapshotter.remove(name, signal);
  await running.snapshotter.cleanup(signal);
  assert.deepEqual(await readdir(join(node.root, 'snapshotter/snapshots')), [], where);
  assert.deepEqual(lazyMounts(node.root), [], where);
  await assertKnown(node, where);
}

/** A container can stand on every committed snapshot, and every active one can be mounted. */
async function use({ snapshotter }: RunningSnapshotter, where: string): Promise<void> {
  for (const { name, kind } of snapshotter.list([])) {
    if (kind === 'committed') {
      const mounts = await snapshotter.prepare({ key: `use ${name}`, parent: name, labels: {} }, signal);
      assert.equal(mounts.length, 1, where);
      await snapshotter.remove(`use ${name}`, signal);
    } else await snapshotter.mounts(name, signal);
  }
}

function leavesFirst({ snapshotter }: RunningSnapshotter): readonly string[] {
  const parents = new Map(snapshotter.list([]).map(({ name, parent }) => [name, parent]));
  const depth = (name: string): number => (parents.get(name) ? 1 + depth(parents.get(name) ?? '') : 0);
  return [...parents.keys()].sort((a, b) => depth(b) - depth(a));
}

/** What was moved aside is deleted in the background. */
async function assertKnown(node: TestNode, where: string): Promise<void> {
  for (let tries = 0; tries < 100 && (await unknown(node)).length > 0; tries++) await sleep(20);
  assert.deepEqual(await unknown(node), [], where);
}

/** What is on disk and in no table, and the other way round. */
async function unknown({ root }: TestNode): Promise<readonly string[]> {
  const running = join(root, 'snapshotter');
  const folders = await readdir(join(running, 'snapshots'));
  const layers = new DatabaseSync(join(root, 'layers/layers.db'), { readOnly: true });
  const known = new Set(
    layers
      .prepare('SELECT layer FROM slots UNION SELECT layer FROM prepared')
      .all()
      .map(({ layer }) => String(layer)),
  );
  layers.close();
  const layerFolders = await readdir(join(root, 'layers/layers'));
  return [
    ...folders.filter((name) => !/^[1-9][0-9]*$/.test(name)),
    ...layerFolders.filter((key) => !known.has(key)),
    ...(await readdir(join(root, 'layers/trash'))),
    ...(await readdir(join(root, 'layers/tmp'))),
    ...(await readdir(running)).filter((name) => !/^(snapshots|(metadata|decisions)\.db(-wal|-shm)?)$/.test(name)),
  ];
}

inPrivateNamespace(import.meta.filename, () => {
  describe('a snapshotter that is killed at any step of a call', () => {
    it('is followed by one that finds the state before the call or after it, and nothing else', { timeout: 1_800_000 }, async (t) => {
      const whole = await workUntil(t, 0);
      assert.ok(whole.steps > 100, `${whole.steps} steps`);
      await check(whole);
      const count = POINTS === 0 ? whole.steps : POINTS;
      const offset = Math.random() / count;
      for (let n = 0; n < count; n++) await check(await workUntil(t, Math.ceil((n / count + offset) * whole.steps)));
      t.diagnostic(`${count} of ${whole.steps} steps`);
    });
  });
});
