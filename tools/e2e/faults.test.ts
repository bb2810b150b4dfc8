import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { waitFor } from '@soci/testing';
import { makeSmallImage } from './small-image.ts';
import { convert, scratchFolder, Stack } from './stack.ts';

const run = promisify(execFile);
const MEBIBYTE = 1 << 20;
const READ_TIMEOUT_SEC = 3;
/** For that long a span that failed answers at once; the first read after it tries again. */
const FAILURE_MEMORY_MS = 1_000;
const CONFIG = `[blob]\nread_timeout_sec = ${READ_TIMEOUT_SEC}\n[background_fetch]\ndisable = true\n`;

/** Reads a file from start to end, by read(2) or by mmap, in a process of its own, as a container would. @returns its digest, or the error's name */
async function readInProcess(path: string, how: 'read' | 'mmap'): Promise<string> {
  const program = `
import hashlib, mmap, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
try:
    data = os.read(fd, 1 << 30) if sys.argv[2] == 'read' else mmap.mmap(fd, 0, prot=mmap.PROT_READ)[:]
    print(hashlib.sha256(data).hexdigest())
except OSError as e:
    print(os.strerror(e.errno))
`;
  try {
    return (await run('python3', ['-c', program, path, how], { maxBuffer: MEBIBYTE })).stdout.trim();
  } catch (error) {
    const { signal } = error as { readonly signal?: string | null };
    if (signal !== undefined && signal !== null) return signal;
    throw error;
  }
}

/** The digest of the file as it was packed. */
async function packedDigest(directory: string, path: string): Promise<string> {
  return (await run('sha256sum', [join(directory, 'layer-0', path)])).stdout.slice(0, 64);
}

async function withImage(
  resources: AsyncDisposableStack,
  layers: Parameters<typeof makeSmallImage>[1],
): Promise<{ readonly directory: string; readonly layout: string }> {
  const directory = await scratchFolder(resources);
  const layout = await convert(await makeSmallImage(directory, layers), join(directory, 'converted'), ['--min-layer-size', '0']);
  return { directory, layout };
}

describe('a registry that is gone', () => {
  for (const how of ['read', 'mmap'] as const) {
    it(`gives a reader by ${how} an error in time, and the right bytes once it is back`, { timeout: 120_000 }, async () => {
      await using resources = new AsyncDisposableStack();
      const { directory, layout } = await withImage(resources, [[{ path: 'data/one', sizeBytes: 9 * MEBIBYTE }]]);
      await using stack = await Stack.start({ config: CONFIG });
      const reference = await stack.push(layout, 'faults/gone:1');
      await stack.pull(reference);
      const view = await stack.view('view');
      await stack.registry.stop('SIGKILL');

      const begin = performance.now();
      const outcome = await readInProcess(join(view, 'data/one'), how);
      const elapsedMs = performance.now() - begin;
      assert.equal(outcome, how === 'read' ? 'Input/output error' : 'SIGBUS');
      assert.ok(elapsedMs < (READ_TIMEOUT_SEC + 2) * 1_000, `the error came after ${Math.round(elapsedMs)} ms`);

      await Promise.all([stack.registry.startAgain(), sleep(FAILURE_MEMORY_MS)]);
      assert.equal(await readInProcess(join(view, 'data/one'), how), await packedDigest(directory, 'data/one'));
      await stack.unview(view);
    });
  }
});

describe('a registry that sends wrong bytes', () => {
  it('makes the read fail, names layer and span, and never serves them', { timeout: 120_000 }, async () => {
    await using resources = new AsyncDisposableStack();
    const { directory, layout } = await withImage(resources, [[{ path: 'data/one', sizeBytes: 9 * MEBIBYTE }]]);
    await using stack = await Stack.start({ config: CONFIG });
    const reference = await stack.push(layout, 'faults/wrong:1');
    await stack.pull(reference);
    const view = await stack.view('view');
    stack.proxy.fault = ({ path, range }) =>
      path.includes('/blobs/') && range !== undefined ? { kind: 'corrupt', offset: 100_000 } : { kind: 'pass' };

    assert.equal(await readInProcess(join(view, 'data/one'), 'read'), 'Input/output error');

    const log = await readFile(stack.snapshotter.logPath, 'utf8');
    const line = log.split('\n').find((text) => text.includes('"span"') && text.includes('"layerDigest"'));
    assert.ok(line !== undefined, `no line names layer and span:\n${log.slice(-2_000)}`);
    stack.proxy.fault = () => ({ kind: 'pass' });
    await sleep(FAILURE_MEMORY_MS);
    assert.equal(await readInProcess(join(view, 'data/one'), 'read'), await packedDigest(directory, 'data/one'));
    await stack.unview(view);
  });
});

describe('a hundred reads that wait', () => {
  it('do not hold up reads of what is there, nor a stop', { timeout: 120_000 }, async () => {
    await using resources = new AsyncDisposableStack();
    const files = Array.from({ length: 100 }, (_, i) => ({ path: `waiting/${i}`, sizeBytes: 5 * MEBIBYTE + i }));
    const local = Array.from({ length: 40 }, (_, i) => ({ path: `local/${i}`, sizeBytes: 3_000 + i }));
    const { layout } = await withImage(resources, [files, local]);
    await using stack = await Stack.start({ config: '[blob]\nread_timeout_sec = 60\n[background_fetch]\ndisable = true\n' });
    const reference = await stack.push(layout, 'faults/waiting:1');
    await stack.pull(reference);
    const view = await stack.view('view');
    for (const { path } of local) await readInProcess(join(view, path), 'read'); // now they are in the layer's data file
    stack.proxy.fault = ({ path }) => (path.includes('/blobs/') ? { kind: 'hang' } : { kind: 'pass' });
    const waiting = files.map(({ path }) => spawn('head', ['-c', '1', join(view, path)], { stdio: 'ignore' }));
    await waitFor(async () => (await Promise.all(waiting.map(({ pid }) => isBlocked(pid)))).every(Boolean), {
      timeoutMs: 20_000,
      what: '100 readers to wait',
    });
    await run('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches']);

    for (const { path } of local) {
      const begin = performance.now();
      await using file = await open(join(view, path));
      await file.read(Buffer.alloc(4_096), 0, 4_096, 0);
      const elapsedMs = performance.now() - begin;
      assert.ok(elapsedMs < 50, `a cold local read took ${Math.round(elapsedMs)} ms`);
    }

    stack.snapshotter.kill('SIGTERM');
    assert.ok((await stack.snapshotter.exited(5_000)) < 5_000);
    for (const reader of waiting) reader.kill('SIGKILL');
  });
});

/** Whether a process sits in an uninterruptible or killable wait for a page or a read. */
async function isBlocked(pid: number | undefined): Promise<boolean> {
  const status = await readFile(`/proc/${pid ?? 0}/stat`, 'utf8');
  return (
    ['D', 'S'].includes(status.slice(status.lastIndexOf(')') + 2, status.lastIndexOf(')') + 3)) &&
    (await readFile(`/proc/${pid ?? 0}/wchan`, 'utf8')) !== '0'
  );
}
