import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readFile, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describeError } from '@soci/errors';
import { makeLazyImage } from '../lazy-image.ts';
import { scratchFolder, Stack } from '../stack.ts';

const run = promisify(execFile);
const MEBIBYTE = 1 << 20;
const CONTAINER = 'writer';
const READ_TIMEOUT_SEC = 5;
const FAILURE_MEMORY_MS = 1_050;
/** No call takes longer, whatever the disk does. */
const MAX_CALL_MS = 10_000;
const CONFIG = `[blob]\nread_timeout_sec = ${READ_TIMEOUT_SEC}\n[background_fetch]\ndisable = true\n`;

describe('a disk that is full', () => {
  it('fails what needs room, each with one clear error, and nothing else; with room again all goes on', { timeout: 300_000 }, async (t) => {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    const image = await makeLazyImage(join(directory, 'image'), { files: 3, sizeBytes: 9 * MEBIBYTE });
    const other = await makeLazyImage(join(directory, 'other'), { files: 1, sizeBytes: 9 * MEBIBYTE });
    const disk = { image: join(directory, 'disk'), root: '' };
    await using stack = await Stack.start({
      config: async (place) => {
        disk.root = join(place.directory, 'snapshotter', 'soci');
        await mkdir(disk.root);
        await run('truncate', ['-s', `${64 * MEBIBYTE}`, disk.image]);
        await run('mkfs.ext4', ['-q', '-m', '0', '-O', '^has_journal', disk.image]);
        await run('mount', ['-o', 'loop', disk.image, disk.root]);
        return CONFIG;
      },
    });
    const reference = await stack.push(image.layout, 'disk/full:1');
    const second = await stack.push(other.layout, 'disk/other:1');
    await stack.pull(reference);
    const view = await stack.view('view');
    const read = (index: number): Promise<string> => digestOf(join(view, image.files[index]?.path ?? ''));
    const digest = (index: number): string | undefined => image.files[index]?.digest;
    await stack.containerd.ctr(['run', '-d', '--snapshotter', 'soci', reference, CONTAINER, 'sleep', '1000']);
    resources.defer(async () => {
      await stack.containerd.ctr(['task', 'kill', '-s', 'KILL', CONTAINER]).catch(() => ''); // its stack may be gone
    });
    assert.equal(await read(0), digest(0));
    const { pid } = stack.snapshotter;

    const ballast = join(disk.root, 'ballast');
    await run('sh', ['-c', `dd if=/dev/zero of=${ballast} bs=64k 2>/dev/null; dd if=/dev/zero of=${ballast}.rest bs=1k 2>/dev/null; true`]);

    // While layers are filled.
    assert.match(await bounded('a read of what is missing', () => read(1)), /Input\/output error/);
    await run('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches']);
    assert.equal(await bounded('a read of what is there', () => read(0)), digest(0));
    await sleep(FAILURE_MEMORY_MS);
    assert.match(await bounded('the next read of what is missing', () => read(1)), /Input\/output error/);
    assert.match(await bounded('a read of another layer', () => read(2)), /Input\/output error/);
    const told = (await logLines(stack)).filter(({ level }) => level === 'error');
    assert.equal(told.filter(({ msg }) => msg.includes('layer data cannot be stored')).length, 1, JSON.stringify(told));
    assert.match(JSON.stringify(told), /ENOSPC|no space left/i);

    // While a container writes to its own layer.
    const write = ['sh', '-c', `cat /${image.files[0]?.path} 2>&1 > /written || true`];
    const exec = (id: string, ...command: string[]): Promise<string> =>
      stack.containerd.ctr(['task', 'exec', '--exec-id', id, CONTAINER, ...command]).catch(describeError);
    assert.match(await bounded('a write of a container', () => exec('full', ...write)), /No space left on device/);
    assert.match(
      await bounded('a read of the container', () => exec('read', 'sha256sum', `/${image.files[0]?.path}`)),
      new RegExp(digest(0) ?? ''),
    );

    // While metadata is written.
    const prepare = (key: string): Promise<string> =>
      stack.containerd.ctr(['snapshots', '--snapshotter', 'soci', 'prepare', key]).then(() => 'prepared', describeError);
    const outcomes = [];
    for (let i = 0; i < 3; i++) outcomes.push(await bounded('Prepare', () => prepare(`full-${i}`)));
    for (const outcome of outcomes) assert.match(outcome, /^prepared$|no space left|disk is full|ENOSPC|resource.?exhausted/i);
    const pulled = await bounded('a pull', () => stack.pull(second).then(() => 'pulled', describeError));
    assert.notEqual(pulled, 'pulled');
    t.diagnostic(`Prepare: ${outcomes[0]}; a pull: ${pulled}`);
    assert.equal(await read(0), digest(0));

    const errors = (await logLines(stack)).filter(({ level }) => level === 'error').map(({ msg }) => msg);
    t.diagnostic(`errors in the log: ${JSON.stringify(errors)}`);
    assert.ok(errors.length < 10, errors.join('\n'));

    // Room again.
    for (const path of [ballast, `${ballast}.rest`]) {
      await truncate(path, 0);
      await rm(path);
    }
    await sleep(FAILURE_MEMORY_MS);
    for (const index of [1, 2]) assert.equal(await read(index), digest(index));
    assert.doesNotMatch(await exec('room', ...write), /No space left/);
    assert.equal(await prepare('room'), 'prepared');
    await stack.pull(second);
    const run2 = await stack.containerd.ctr([
      'run',
      '--rm',
      '--snapshotter',
      'soci',
      second,
      'second',
      'sha256sum',
      `/${other.files[0]?.path}`,
    ]);
    assert.match(run2, new RegExp(other.files[0]?.digest ?? ''));
    assert.equal(stack.snapshotter.pid, pid, 'nobody was started again');
    assert.ok((await logLines(stack)).some(({ msg }) => msg.includes('layer data can be stored again')));
    await stack.unview(view);
  });
});

/** @returns the digest in hex, or what the reader was told */
async function digestOf(path: string): Promise<string> {
  try {
    return (await run('sha256sum', [path])).stdout.slice(0, 64);
  } catch (error) {
    return describeError(error);
  }
}

async function bounded<T>(what: string, work: () => Promise<T>): Promise<T> {
  const begin = performance.now();
  const result = await work();
  const elapsedMs = performance.now() - begin;
  if (elapsedMs > 1_000) console.log(`${what}: ${Math.round(elapsedMs)} ms`);
  assert.ok(elapsedMs < MAX_CALL_MS, `${what} took ${Math.round(elapsedMs)} ms`);
  return result;
}

async function logLines({ snapshotter }: Stack): Promise<readonly { readonly level: string; readonly msg: string }[]> {
  const text = await readFile(snapshotter.logPath, 'utf8');
  return text.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as { level: string; msg: string }] : []));
}
