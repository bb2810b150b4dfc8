import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describeError } from '@soci/errors';
import type { Fault } from '@soci/testing';
import { fileOf, makeLazyImage } from '../lazy-image.ts';
import { scratchFolder, Stack } from '../stack.ts';

const run = promisify(execFile);
const MEBIBYTE = 1 << 20;
const FAILURE_MEMORY_MS = 1_050;
const READ_TIMEOUT_SEC = 20;
const CONFIG = `[blob]\nread_timeout_sec = ${READ_TIMEOUT_SEC}\n[background_fetch]\ndisable = true\n`;
/** A body that brings less than 16 KiB in this time is given up. */
const PROGRESS_MS = 10_000;

/** @returns the digest in hex, or what the reader was told */
async function digestOf(path: string): Promise<string> {
  try {
    return (await run('sha256sum', [path])).stdout.slice(0, 64);
  } catch (error) {
    return describeError(error);
  }
}

async function timed<T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly elapsedMs: number }> {
  const begin = performance.now();
  const result = await work();
  return { result, elapsedMs: performance.now() - begin };
}

describe('a container that reads through a mount', () => {
  it('gets the right bytes when one request goes wrong, whatever that is', { timeout: 300_000 }, async (t) => {
    await using resources = new AsyncDisposableStack();
    const faults: readonly (readonly [string, Fault, number])[] = [
      ['reset', { kind: 'reset' }, 3_000],
      ['429 with Retry-After', { kind: 'status', status: 429, headers: { 'retry-after': '2' } }, 5_000],
      ['body that ends early', { kind: 'short', bytes: 100_000 }, 3_000],
      ['200 for a range', { kind: 'whole' }, 5_000],
      ['body that trickles', { kind: 'trickle', bytes: 10, everyMs: 100 }, PROGRESS_MS + 5_000],
    ];
    const image = await makeLazyImage(join(await scratchFolder(resources), 'image'), { files: faults.length, sizeBytes: 9 * MEBIBYTE });
    await using stack = await Stack.start({ config: CONFIG });
    await stack.pull(await stack.push(image.layout, 'faults/mount:1'));
    const view = await stack.view('view');
    for (const [index, [name, fault, boundMs]] of faults.entries()) {
      let isHit = false;
      stack.proxy.fault = ({ range, authorized }) => {
        if (isHit || range === undefined || !authorized) return { kind: 'pass' };
        isHit = true;
        return fault;
      };
      const { path, digest } = fileOf(image, index);
      const { result, elapsedMs } = await timed(() => digestOf(join(view, path)));
      t.diagnostic(`${name}: ${Math.round(elapsedMs)} ms`);
      assert.ok(isHit);
      assert.equal(result, digest, name);
      assert.ok(elapsedMs < boundMs, `${name}: ${Math.round(elapsedMs)} ms`);
    }
    await stack.unview(view);
  });

  it('gets EIO in time where the service has no descriptor left, and the right bytes when it has', { timeout: 120_000 }, async () => {
    await using resources = new AsyncDisposableStack();
    const image = await makeLazyImage(join(await scratchFolder(resources), 'image'), { files: 2, sizeBytes: 2 * MEBIBYTE });
    await using stack = await Stack.start({ config: CONFIG });
    await stack.pull(await stack.push(image.layout, 'faults/descriptors:1'));
    const view = await stack.view('view');
    const [here, missing] = [fileOf(image, 0), fileOf(image, 1)];
    assert.equal(await digestOf(join(view, here.path)), here.digest);
    const service = await servicePid(stack);
    const soft = /^Max open files\s+(\d+)/m.exec(await readFile(`/proc/${service}/limits`, 'utf8'))?.[1] ?? '';
    await run('prlimit', ['--pid', String(service), '--nofile=8:']);
    await run('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches']);
    assert.equal(await digestOf(join(view, here.path)), here.digest);
    const { result, elapsedMs } = await timed(() => digestOf(join(view, missing.path)));
    assert.match(result, /Input\/output error/);
    assert.ok(elapsedMs < (READ_TIMEOUT_SEC + 2) * 1_000);
    await run('prlimit', ['--pid', String(service), `--nofile=${soft}:`]);
    await sleep(FAILURE_MEMORY_MS);
    assert.equal(await digestOf(join(view, missing.path)), missing.digest);
    assert.equal(await servicePid(stack), service);
    await stack.unview(view);
  });

  it('gets the right bytes of a cache that was damaged while nobody served it', { timeout: 120_000 }, async () => {
    await using resources = new AsyncDisposableStack();
    const image = await makeLazyImage(join(await scratchFolder(resources), 'image'), { files: 1, sizeBytes: 48 * MEBIBYTE });
    await using stack = await Stack.start({ config: CONFIG });
    await stack.pull(await stack.push(image.layout, 'faults/damage:1'));
    const { path, digest } = fileOf(image);
    const view = await stack.view('view');
    await run('sh', ['-c', `head -c ${5 * MEBIBYTE} ${join(view, path)} > /dev/null`]);
    await sleep(1_500); // a flush
    await stack.unview(view);
    const root = join(stack.directory, 'snapshotter', 'soci', 'layers', 'layers');
    const service = await servicePid(stack);
    process.kill(service, 'SIGSTOP');
    for (const key of await readdir(root)) {
      await using file = await open(join(root, key, 'data'), 'r+');
      const { size } = await file.stat();
      if (size > 8 * MEBIBYTE) await file.write(Buffer.alloc(4_096, 'damage'), 0, 4_096, MEBIBYTE);
    }
    stack.snapshotter.kill('SIGKILL');
    process.kill(service, 'SIGKILL');
    await stack.snapshotter.exited();
    await stack.snapshotter.startAgain();
    const again = await stack.view('again');
    await run('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches']);
    assert.equal(await digestOf(join(again, path)), digest);
    const log = await readFile(stack.snapshotter.logPath, 'utf8');
    assert.match(log, /span on disk is not what was written, will be fetched again/);
    await stack.unview(again);
  });
});

/** The child of the keeper. */
async function servicePid({ snapshotter: { pid } }: Stack): Promise<number> {
  const [child = ''] = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ');
  return Number(child);
}
