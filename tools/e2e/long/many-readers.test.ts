import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { convertInProcess } from '../convert-in-process.ts';
import { makeSmallImage } from '../small-image.ts';
import { scratchFolder, Stack } from '../stack.ts';

const run = promisify(execFile);
const READERS = 10_000;
const MEBIBYTE = 1 << 20;
const MAX_GROWTH_BYTES = 50 * MEBIBYTE;
const MAX_LOCAL_READ_MS = 50;
const MAX_STOP_MS = 5_000;
const CONFIG = '[blob]\nread_timeout_sec = 120\n[background_fetch]\ndisable = true\n';

async function hasCompiler(): Promise<boolean> {
  return run('gcc', ['--version']).then(
    () => true,
    () => false,
  );
}
const skip = (await hasCompiler()) ? false : 'gcc is not installed';

describe(`${READERS} threads that read what is not there, of a registry that hangs`, { skip }, () => {
  it('cost little memory, hold up no local read, and no stop', { timeout: 300_000 }, async (t) => {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    const missing = Array.from({ length: READERS }, (_, i) => ({ path: `missing/${i}`, sizeBytes: 4_097 }));
    const local = Array.from({ length: 40 }, (_, i) => ({ path: `local/${i}`, sizeBytes: 3_000 + i }));
    const layout = await convertInProcess(await makeSmallImage(directory, [missing, local]), join(directory, 'converted'));
    const program = join(directory, 'many-readers');
    await run('gcc', ['-O1', '-pthread', '-o', program, join(import.meta.dirname, 'many-readers.c')]);
    await using stack = await Stack.start({ config: CONFIG, logLevel: 'info' });
    await stack.pull(await stack.push(layout, 'many/readers:1'));
    const view = await stack.view('view');
    for (const { path } of local) await readFile(join(view, path)); // now they are in the layer's data file
    const before = await residentBytes(stack);

    stack.proxy.fault = ({ path }) => (path.includes('/blobs/') ? { kind: 'hang' } : { kind: 'pass' });
    const readers = spawn(program, [join(view, 'missing'), String(READERS)], { stdio: ['ignore', 'pipe', 'inherit'] });
    resources.defer(() => void readers.kill('SIGKILL'));
    let output = '';
    readers.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    while (!output.includes('reading')) await sleep(50);
    await settled(t, readers.pid ?? 0);
    const growth = (await residentBytes(stack)) - before;
    t.diagnostic(
      `${threads(await status(readers.pid ?? 0))} threads wait; memory of the service grew by ${(growth / MEBIBYTE).toFixed(1)} MiB from ${(before / MEBIBYTE).toFixed(1)}`,
    );
    assert.ok(threads(await status(readers.pid ?? 0)) > READERS * 0.99, 'they wait');

    await run('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches']);
    let slowestMs = 0;
    for (const { path } of local) {
      const begin = performance.now();
      await using file = await open(join(view, path));
      await file.read(Buffer.alloc(4_096), 0, 4_096, 0);
      slowestMs = Math.max(slowestMs, performance.now() - begin);
    }
    t.diagnostic(`slowest cold local read: ${slowestMs.toFixed(1)} ms`);
    assert.ok(slowestMs < MAX_LOCAL_READ_MS, `a cold local read took ${Math.round(slowestMs)} ms`);
    const later = (await residentBytes(stack)) - before;
    assert.ok(Math.max(growth, later) < MAX_GROWTH_BYTES, `memory grew by ${Math.round(Math.max(growth, later) / MEBIBYTE)} MiB`);

    stack.snapshotter.kill('SIGTERM');
    const stopMs = await stack.snapshotter.exited(2 * MAX_STOP_MS);
    t.diagnostic(`SIGTERM to the end: ${Math.round(stopMs)} ms`);
    assert.ok(stopMs < MAX_STOP_MS);
    readers.kill('SIGKILL');
    await once(readers, 'close');
  });
});

/** Waits until the readers use no processor time any more: all that can wait does. */
async function settled(t: TestContext, pid: number): Promise<void> {
  const ticks = async (): Promise<string> => (await readFile(`/proc/${pid}/stat`, 'utf8')).split(' ').slice(13, 15).join();
  let last = '';
  while (!t.signal.aborted) {
    const now = await ticks();
    if (now === last) return;
    last = now;
    await sleep(1_000);
  }
}

/** Of the keeper and all below it. */
async function residentBytes({ snapshotter }: Stack): Promise<number> {
  let bytes = 0;
  const pids = [snapshotter.pid];
  for (let pid = pids.shift(); pid !== undefined; pid = pids.shift()) {
    bytes += Number(/^VmRSS:\s+(\d+)/m.exec(await status(pid))?.[1] ?? 0) * 1024;
    for (const task of await readdir(`/proc/${pid}/task`))
      pids.push(...(await readFile(`/proc/${pid}/task/${task}/children`, 'utf8')).trim().split(' ').filter(Boolean).map(Number));
  }
  return bytes;
}

function status(pid: number): Promise<string> {
  return readFile(`/proc/${pid}/status`, 'utf8');
}

function threads(text: string): number {
  return Number(/^Threads:\s+(\d+)/m.exec(text)?.[1] ?? 0);
}
