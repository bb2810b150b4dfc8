import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findMount, type MountInfo, readMountInfo, UMOUNT_FLAGS, umountNow } from '@soci/linux';
import { inPrivateNamespace } from '@soci/linux/testing';
import type { KeepOptions } from './device.ts';

const SMALL = ['--v8-pool-size=0', '--max-old-space-size=32', '--max-semi-space-size=1', '--jitless'];
const TITLE = 'soci-keeper-test';
const DATA_BYTES = 24 << 20;
const MAX_STALL_MS = 2_000;
const MAX_KEEPER_KIB = 50 * 1024;
const READERS = ['read', 'read', 'mmap', 'mmap'];
const testing = (name: string): string => fileURLToPath(new URL(`../testing/${name}`, import.meta.url));

interface State {
  readonly service: number;
  readonly keeper: number;
  readonly restarts: number;
  readonly lastEnd: string;
  readonly resumedRequests: number;
  readonly isResumed: boolean;
  readonly hasResend: boolean;
  /** What the first of systemd's sockets is. */
  readonly sockets: string;
}

interface Node {
  readonly program: ChildProcess;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  /** Waits for a state that is not the one before. */
  readonly until: (test: (state: State) => boolean) => Promise<State>;
  readonly mount: () => MountInfo | undefined;
  /** Starts readers. @returns a way to end them, which tells how they did */
  readonly read: () => () => Promise<{ readonly passes: number; readonly longestMs: number }>;
}

/** The keeper as it is installed, plain JavaScript in a directory of its own. */
function writeKeeper(directory: string, options: KeepOptions): string {
  mkdirSync(directory);
  const source = new URL('.', import.meta.url);
  for (const name of readdirSync(source).filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))) {
    const script = stripTypeScriptTypes(readFileSync(new URL(name, source), 'utf8')).replaceAll(/(from '\.\/[a-z-]+)\.ts'/g, "$1.mjs'");
    writeFileSync(join(directory, name.replace('.ts', '.mjs')), script);
  }
  const start = join(directory, 'start.mjs');
  writeFileSync(start, `import { keep } from './keep.mjs'; await keep(${JSON.stringify(options)});`);
  return start;
}

/** Keeper, service and a mount with one layer of random bytes. */
async function startNode(t: TestContext, how: 'resend' | 'journal', before: readonly string[] = []): Promise<Node> {
  const directory = mkdtempSync(join(tmpdir(), 'soci-keep-'));
  const data = randomBytes(DATA_BYTES);
  writeFileSync(join(directory, 'data'), data);
  writeFileSync(join(directory, 'names'), data.subarray(0, 8192));
  const start = writeKeeper(join(directory, 'keeper'), {
    main: testing('kept-service.ts'),
    args: [directory, how],
    title: TITLE,
    nodeArguments: ['--conditions=@soci/source'],
  });
  // Without the cache a service that is started from TypeScript spends most of its start in making JavaScript of it.
  const env = { ...process.env, NODE_COMPILE_CACHE: join(directory, 'cache') };
  const words = [...before, process.execPath, ...SMALL, start];
  const program = spawn(words[0] ?? '', words.slice(1), { stdio: ['pipe', 'ignore', 'inherit'], env });
  const ended = endOf(program);
  const until = async (test: (state: State) => boolean): Promise<State> => {
    for (const deadline = performance.now() + 20_000; ; ) {
      const found = readStates(directory).find(test);
      if (found !== undefined) return found;
      if (performance.now() > deadline) throw new Error(`not within 20 s: ${test.toString()}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  const mountPoint = join(directory, 'mount');
  const mount = (): MountInfo | undefined => findMount(mountPoint, readMountInfo());
  const digest = createHash('sha256').update(data).digest('hex');
  t.after(async () => {
    await killAll(directory);
    if (mount() !== undefined) umountNow(mountPoint, UMOUNT_FLAGS.detach);
    rmSync(directory, { recursive: true, force: true });
  });
  await until(() => true);
  return {
    program,
    ended,
    until,
    mount: () => findMount(join(directory, 'mount'), readMountInfo()),
    read: () => startReaders(join(mountPoint, '1.bytes'), digest),
  };
}

/** What services that live have written. */
function readStates(directory: string): State[] {
  return readdirSync(directory)
    .filter((name) => name.startsWith('state.'))
    .flatMap((name) => {
      const text = readFileSync(join(directory, name), 'utf8');
      const state = text.endsWith('}') ? (JSON.parse(text) as State) : undefined; // else it is being written
      return state !== undefined && isAlive(state.service) ? [state] : [];
    });
}

function isAlive(pid: number): boolean {
  return /\) [^ZX] /.test(textOf(`/proc/${pid}/stat`));
}

/** Keepers and services start each other: until none is left. */
async function killAll(directory: string): Promise<void> {
  const isOurs = (pid: number): boolean => {
    const command = textOf(`/proc/${pid}/cmdline`);
    return command.includes(directory) || command.startsWith(TITLE);
  };
  for (let quiet = 0; quiet < 3; ) {
    const pids = readdirSync('/proc')
      .map(Number)
      .filter((pid) => pid > 1 && isAlive(pid) && isOurs(pid));
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    quiet = pids.length === 0 ? quiet + 1 : 0;
    await pause(20);
  }
}

/** Of a file of a process, which may be gone by now. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function startReaders(path: string, digest: string) {
  const readers = READERS.map((how) => spawn('python3', [testing('reader.py'), how, path, digest], { stdio: ['pipe', 'pipe', 'inherit'] }));
  const ends = readers.map(async (reader) => {
    let output = '';
    reader.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    const { code } = await endOf(reader);
    assert.equal(code, 0, 'a reader failed');
    return JSON.parse(output) as { readonly passes: number; readonly longestMs: number };
  });
  return async () => {
    for (const reader of readers) reader.stdin.end();
    const results = await Promise.all(ends);
    return { passes: Math.min(...results.map(({ passes }) => passes)), longestMs: Math.max(...results.map(({ longestMs }) => longestMs)) };
  };
}

async function endOf(child: ChildProcess) {
  return await new Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

function assertSmall(keeper: number): void {
  const rssKib = Number(/^VmRSS:\s+([0-9]+) kB$/m.exec(readFileSync(`/proc/${keeper}/status`, 'utf8'))?.[1]);
  assert.ok(rssKib < MAX_KEEPER_KIB, `${rssKib} KiB`);
}

/** Kills the service and waits for the next one. */
async function killService({ until }: Node): Promise<State> {
  const { service } = await until(() => true);
  process.kill(service, 'SIGKILL');
  return await until((state) => state.service !== service);
}

/** Kills the keeper and waits until the service has another one. */
async function killKeeper({ until }: Node): Promise<State> {
  const { keeper } = await until(() => true);
  process.kill(keeper, 'SIGKILL');
  return await until((state) => state.keeper !== keeper && state.keeper > 0);
}

inPrivateNamespace(import.meta.filename, () => {
  describe('keep', () => {
    for (const how of ['resend', 'journal'] as const) {
      it(`nobody who reads sees a service die, with ${how === 'resend' ? 'a kernel that sends again' : 'the journal'}`, async (t) => {
        const node = await startNode(t, how);
        const before = node.mount();
        const endReaders = node.read();
        let resumedRequests = 0;
        for (let kill = 1; kill <= 5; kill++) {
          await pause(200 + Math.random() * 600);
          const state = await killService(node);
          assert.deepEqual([state.restarts, state.lastEnd, state.isResumed, state.hasResend], [kill, 'SIGKILL', true, how === 'resend']);
          await pause(300);
          resumedRequests += (await node.until(() => true)).resumedRequests;
        }
        assert.ok(resumedRequests > 0, 'no kill left a request behind');
        const { passes, longestMs } = await endReaders();
        t.diagnostic(`longest wait ${Math.round(longestMs)} ms, ${passes} passes`);
        assert.ok(longestMs < MAX_STALL_MS, `${longestMs} ms`);
        assert.deepEqual(node.mount(), before);
        assertSmall((await node.until(() => true)).keeper);
      });

      it(`service and keeper die in turn, ten times, with ${how}`, async (t) => {
        const node = await startNode(t, how);
        const before = node.mount();
        const endReaders = node.read();
        for (let round = 0; round < 10; round++) {
          await pause(100 + Math.random() * 300);
          const start = performance.now();
          const { keeper, service } = await killKeeper(node);
          assert.ok(performance.now() - start < 1_000, 'another keeper within a second');
          await pause(Math.random() * 200);
          assertSmall(keeper);
          process.kill(service, 'SIGKILL');
          const next = await node.until((state) => state.service !== service);
          assert.equal(next.restarts, round + 1);
        }
        const { passes, longestMs } = await endReaders();
        t.diagnostic(`longest wait ${Math.round(longestMs)} ms, ${passes} passes`);
        assert.ok(longestMs < MAX_STALL_MS, `${longestMs} ms`);
        assert.deepEqual(node.mount(), before);
      });
    }

    it('passes a signal on, and ends as the service does, with its mount', async (t) => {
      const node = await startNode(t, 'resend');
      await killService(node);
      node.program.kill('SIGTERM');
      assert.deepEqual(await node.ended, { code: 0, signal: null });
      assert.equal(node.mount(), undefined);
    });

    it('starts the service anew when it is told to', async (t) => {
      const node = await startNode(t, 'resend');
      const { service } = await node.until(() => true);
      node.program.kill('SIGUSR2');
      assert.ok((await node.until((state) => state.service !== service)).isResumed);
    });

    it('goes on after all processes were stopped and started again, with the store of systemd', async (t) => {
      const node = await startNode(t, 'resend', ['python3', testing('fake-systemd.py')]);
      const { service, sockets } = await node.until(() => true);
      assert.match(sockets, /^socket:\S+ soci\.socket$/);
      const before = node.mount();
      const endReaders = node.read();
      await pause(500);
      for (const order of ['restart', 'crash']) {
        const now = await node.until(() => true);
        node.program.stdin?.write(`${order} ${now.service}\n`);
        const next = await node.until((state) => state.service !== now.service && state.service !== service);
        assert.deepEqual([next.isResumed, next.restarts, next.sockets], [true, 0, sockets]);
        await pause(500);
      }
      const { passes, longestMs } = await endReaders();
      t.diagnostic(`longest wait ${Math.round(longestMs)} ms, ${passes} passes`);
      assert.ok(longestMs < MAX_STALL_MS, `${longestMs} ms`);
      assert.deepEqual(node.mount(), before);
    });

    it('is stopped by the keeper that was started last', async (t) => {
      const node = await startNode(t, 'resend');
      const { keeper, service } = await killKeeper(node);
      process.kill(keeper, 'SIGTERM');
      while (isAlive(keeper) || isAlive(service)) await pause(10);
      assert.equal(node.mount(), undefined);
    });
  });
});
