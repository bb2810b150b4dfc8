import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { NO_BACKGROUND_FETCH } from '../credential-config.ts';
import { type Victim, killInTurn } from '../killer.ts';
import { makeReadImage, type ReadImage } from '../read-image.ts';
import { scratchFolder } from '../stack.ts';
import { pullForReading, readThrough, startNode, type Shape } from '../survivors.ts';
import { Random, seedFrom } from './random.ts';

const run = promisify(execFile);
const SECONDS = Number(process.env['KILL_SECONDS'] ?? '60');
const SIZE_BYTES = Number(process.env['KILL_MEBIBYTES'] ?? '500') << 20;
const FILES = 20_000;
const MAX_STALL_MS = 2_000;
const READ_TIMEOUT_SEC = 3;
/** The kernel repeats a failed read, and the next process counts anew. */
const MAX_WAIT_MS = 3 * READ_TIMEOUT_SEC * 1_000;
/** So long every read of what could not be had fails at once. */
const REFUSED_MS = 1_500;
const seed = seedFrom(process.env['KILL_SEED']);

const RESEND: Shape = { owed: 'resend', credentials: 'docker' };
const SHAPES: readonly Shape[] = [
  RESEND,
  { owed: 'resend', credentials: 'cri' },
  { owed: 'journal', credentials: 'docker' },
  { owed: 'journal', credentials: 'cri' },
];
const OURS: readonly Victim[] = ['service', 'keeper', 'service, then keeper', 'containerd', 'keeper, then service'];
const OTHERS: readonly Victim[] = ['registry', 'containerd', 'registry', 'service'];

describe(`for ${SECONDS} s something is killed every two seconds while containers read, seed ${seed} (KILL_SEED)`, () => {
  const resources = new AsyncDisposableStack();
  let made: Promise<ReadImage> | undefined;
  const image = (): Promise<ReadImage> =>
    (made ??= scratchFolder(resources).then((directory) => makeReadImage(directory, { sizeBytes: SIZE_BYTES, files: FILES })));
  after(() => resources.disposeAsync());

  for (const [index, shape] of SHAPES.entries()) {
    it(`our processes and containerd, by ${shape.owed}, with credentials of ${shape.credentials}`, { timeout: 900_000 }, async (t) => {
      const read = await image();
      await using stack = await startNode(shape);
      const reference = await pullForReading(stack, read, shape);
      const random = new Random(seed, index);
      await readThrough(t, stack, { image: read, reference, passSeconds: SECONDS, maxStallMs: MAX_STALL_MS }, () =>
        killInTurn(stack, { victims: OURS, seconds: SECONDS, random: () => random.below(1_000) / 1_000 }),
      );
    });
  }

  it('the registry, containerd and the service', { timeout: 900_000 }, async (t) => {
    const read = await image();
    await using stack = await startNode(RESEND);
    const reference = await pullForReading(stack, read, RESEND);
    const random = new Random(seed, SHAPES.length);
    await readThrough(t, stack, { image: read, reference, passSeconds: SECONDS, maxStallMs: MAX_STALL_MS }, () =>
      killInTurn(stack, { victims: OTHERS, seconds: SECONDS, random: () => random.below(1_000) / 1_000 }),
    );
  });
});

describe('a read of what is not here, while the registry is down', () => {
  for (const owed of ['resend', 'journal'] as const) {
    it(`waits within its deadline, fails, and works again, by ${owed}`, { timeout: 180_000 }, async (t) => {
      await using resources = new AsyncDisposableStack();
      const image = await makeReadImage(await scratchFolder(resources), { sizeBytes: 4 << 20, files: 4 });
      const shape: Shape = { owed, credentials: 'docker' };
      await using stack = await startNode(shape, { config: `${NO_BACKGROUND_FETCH}[blob]\nread_timeout_sec = ${READ_TIMEOUT_SEC}\n` });
      await pullForReading(stack, image, shape);
      const view = await stack.view('view');
      const [file = { path: '', digest: '' }] = image.ways;
      const path = join(view, file.path);
      await stack.registry.stop('SIGKILL');

      const quiet = await failedRead(path);
      await sleep(REFUSED_MS);
      const disturbed = failedRead(path);
      await sleep(1_000);
      stack.snapshotter.killService('SIGKILL');
      await stack.containerd.stop('SIGKILL');
      await stack.containerd.startAgain();
      const waits = [quiet, await disturbed];
      t.diagnostic(`waited ${waits.map(Math.round).join(' and ')} ms`);
      for (const ms of waits) assert.ok(ms > READ_TIMEOUT_SEC * 900 && ms < MAX_WAIT_MS, `${ms} ms`);

      await stack.registry.startAgain();
      await sleep(REFUSED_MS);
      const { stdout } = await run('sha256sum', [path]);
      assert.equal(stdout.slice(0, 64), file.digest);
      await stack.unview(view);
    });
  }
});

function sleep(ms: number): Promise<unknown> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** @returns milliseconds until EIO */
async function failedRead(path: string): Promise<number> {
  const begin = performance.now();
  await assert.rejects(run('sha256sum', [path]), /Input\/output error/);
  return performance.now() - begin;
}
