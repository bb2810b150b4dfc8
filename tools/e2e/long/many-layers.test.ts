import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { connect } from 'node:net';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort, waitFor } from '@soci/testing';
import { footprintOf, processTree, type Footprint } from '../footprint.ts';
import { ManyLayersNode } from '../many-layers-node.ts';
import { scratchFolder } from '../stack.ts';
import { LayerReaders } from './many-layers-readers.ts';

const run = promisify(execFile);

const MANY = { images: 10, layers: 40, files: 400 };
const CHURN = { images: 50, layers: 10, files: 40 };
const MAX_RSS_MEGABYTES = 200;
const MAX_THREADS = 40;
const MAX_START_MS = 2_000;
const MAX_READ_MS = 2_000;
/** After the service is there again. */
const READ_ON_MS = 10_000;
/** In which threads that have nothing to do end, and what they held is given back. */
const SETTLE_MS = 90_000;
/** Layers are idle: nobody reads, and nothing is fetched for later. */
const IDLE = '[background_fetch]\ndisable = true\n';

describe('four hundred lazily mounted layers', () => {
  it('cost little while they are idle, and are served again at once after a kill', { timeout: 900_000 }, async (t) => {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    await using node = await ManyLayersNode.start({ many: MANY, directory, config: IDLE });
    const begin = performance.now();
    for (const reference of node.references) await node.pull(reference);
    t.diagnostic(`pulled in ${((performance.now() - begin) / 1_000).toFixed(1)} s`);

    const { layers, fuse } = await node.mounts();
    assert.equal(layers.length, MANY.images * MANY.layers);
    assert.equal(fuse, 1);
    const idle = await settled(node, ({ rssMegabytes }) => rssMegabytes < MAX_RSS_MEGABYTES);
    t.diagnostic(inWords(idle));
    assert.ok(idle.threads < MAX_THREADS, inWords(idle));

    const half = MANY.files / 2;
    for (const [isRegistryDown, firstFile] of [
      [false, 0],
      [true, half],
    ] as const) {
      if (isRegistryDown) await node.registry.stop('SIGKILL');
      await using readers = await LayerReaders.start(layers, firstFile, half);
      const startMs = await killedUntilServed(node);
      assert.deepEqual((await node.mounts()).layers, layers);
      await sleep(READ_ON_MS);
      const { longestMs, reads } = await readers.finish();
      t.diagnostic(`${reads} reads, the longest ${Math.round(longestMs)} ms`);
      const after = await settled(
        node,
        ({ rssMegabytes, descriptors }) => descriptors >= idle.descriptors * 0.9 && rssMegabytes <= idle.rssMegabytes * 1.1,
      );
      t.diagnostic(`registry ${isRegistryDown ? 'down' : 'up'}: serves after ${Math.round(startMs)} ms, then ${inWords(after)}`);
      assert.ok(startMs < MAX_START_MS, `${startMs} ms`);
      assert.ok(longestMs < MAX_READ_MS, `a read took ${longestMs} ms`);
    }
  });
});

describe('fifty images that are mounted and removed', () => {
  it('leave nothing behind, and the second time takes no more than the first', { timeout: 900_000 }, async (t) => {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    const metrics = `127.0.0.1:${await freePort()}`;
    await using node = await ManyLayersNode.start({ many: CHURN, directory, config: `${metricsAt(metrics)}${IDLE}` });
    const first = await churn(node, metrics);
    t.diagnostic(describeCycle(first));
    const second = await churn(node, metrics);
    t.diagnostic(describeCycle(second));

    assert.ok(second.after.rssMegabytes <= 1.1 * first.after.rssMegabytes, `${inWords(first.after)}, then ${inWords(second.after)}`);
    for (const { peakDiskBytes, diskBytes, mounts } of [first, second]) {
      assert.ok(diskBytes < peakDiskBytes / 100, `${diskBytes} bytes of ${peakDiskBytes} are left`);
      assert.equal(mounts, 0);
    }
    assert.ok(second.after.descriptors <= first.after.descriptors + 2, `${inWords(first.after)}, then ${inWords(second.after)}`);
    assert.equal(second.series, first.series);
  });
});

interface Cycle {
  readonly after: Footprint;
  readonly peakDiskBytes: number;
  readonly diskBytes: number;
  /** Of layers. */
  readonly mounts: number;
  /** In the metrics. */
  readonly series: number;
}

async function churn(node: ManyLayersNode, metrics: string): Promise<Cycle> {
  for (const reference of node.references) await node.pull(reference);
  const peakDiskBytes = await diskBytes(node.root);
  await node.removeAll();
  await waitFor(async () => (await node.mounts()).layers.length === 0, { timeoutMs: 60_000, what: 'the mounts to go' });
  const after = await quiet(node);
  return {
    after,
    peakDiskBytes,
    diskBytes: await diskBytes(node.root),
    mounts: (await node.mounts()).layers.length,
    series: (await (await fetch(`http://${metrics}/metrics`)).text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
      .length,
  };
}

/** Kills the service. @returns milliseconds until the next one accepts connections */
async function killedUntilServed({ snapshotter }: ManyLayersNode): Promise<number> {
  const before = processTree(snapshotter.pid);
  const begin = performance.now();
  snapshotter.killService('SIGKILL');
  const isNext = (): boolean => processTree(snapshotter.pid).some((pid) => !before.includes(pid));
  await waitFor(async () => isNext() && (await isListening(snapshotter.address)), {
    timeoutMs: 30_000,
    intervalMs: 5,
    what: 'the next service',
  });
  return performance.now() - begin;
}

function isListening(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address, () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}

/** Waits for a footprint that fits. @throws with the last one */
async function settled(node: ManyLayersNode, fits: (footprint: Footprint) => boolean): Promise<Footprint> {
  let last = footprintOf(node.snapshotter.pid);
  await waitFor(
    () => {
      last = footprintOf(node.snapshotter.pid);
      return fits(last);
    },
    { timeoutMs: SETTLE_MS, intervalMs: 1_000, what: 'memory to be given back' },
  ).catch((cause: unknown) => {
    throw new Error(inWords(last), { cause });
  });
  return last;
}

/** Waits until nothing more is given back. */
async function quiet(node: ManyLayersNode): Promise<Footprint> {
  const [QUIET_MS, STEP_MS] = [30_000, 1_000];
  let least = footprintOf(node.snapshotter.pid);
  let since = performance.now();
  await waitFor(
    () => {
      const now = footprintOf(node.snapshotter.pid);
      if (now.rssMegabytes < least.rssMegabytes - 1 || now.threads < least.threads) [least, since] = [now, performance.now()];
      return performance.now() - since > QUIET_MS;
    },
    { timeoutMs: SETTLE_MS + QUIET_MS, intervalMs: STEP_MS, what: 'memory to be given back' },
  );
  return footprintOf(node.snapshotter.pid);
}

async function diskBytes(folder: string): Promise<number> {
  const { stdout } = await run('du', ['--summarize', '--one-file-system', '--block-size=1', folder]);
  return Number(stdout.split('\t')[0]);
}

function metricsAt(address: string): string {
  return `metrics_address = "${address}"\n`;
}

function inWords({ rssMegabytes, threads, descriptors }: Footprint): string {
  return `${Math.round(rssMegabytes)} MB, ${threads} threads, ${descriptors} descriptors`;
}

function describeCycle({ after, peakDiskBytes, diskBytes: left, series }: Cycle): string {
  return `${inWords(after)}; ${peakDiskBytes} bytes on disk, then ${left}; ${series} series`;
}
