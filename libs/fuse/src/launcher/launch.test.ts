import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { cannotMount } from '@soci/linux/testing';
import { inheritedFuse, type LaunchOptions } from './launch.ts';

const SMALL = ['--v8-pool-size=0', '--max-old-space-size=32', '--max-semi-space-size=1'];

interface Launched {
  readonly launcher: ChildProcess;
  /** The next line that the service wrote. */
  readonly line: () => Promise<string>;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
}

/** Starts the launcher as it is installed: plain JavaScript, nothing beside it. */
function startLauncher(
  t: TestContext,
  service: string,
  options: Partial<LaunchOptions> = {},
  environment: NodeJS.ProcessEnv = {},
): Launched {
  const directory = mkdtempSync(join(tmpdir(), 'soci-launcher-'));
  const main = join(directory, 'service.mjs');
  writeFileSync(main, service);
  writeFileSync(join(directory, 'launch.mjs'), stripTypeScriptTypes(readFileSync(new URL('./launch.ts', import.meta.url), 'utf8')));
  const all: LaunchOptions = { main, args: ['--flag', 'a b'], title: 'soci-launcher-test', ...options };
  writeFileSync(join(directory, 'start.mjs'), `import { launch } from './launch.mjs'; await launch(${JSON.stringify(all)});`);
  const launcher = spawn(process.execPath, [...SMALL, join(directory, 'start.mjs')], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...environment },
  });
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    launcher.once('exit', (code, signal) => resolve({ code, signal }));
  });
  t.after(async () => {
    launcher.kill('SIGTERM'); // SIGKILL would leave the service alone
    await ended;
    rmSync(directory, { recursive: true });
  });
  const lines = lineReader(launcher);
  return { launcher, line: async () => String((await lines.next()).value), ended };
}

async function* lineReader(child: ChildProcess): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of child.stdout ?? []) {
    const parts = `${rest}${String(chunk)}`.split('\n');
    rest = parts.pop() ?? '';
    yield* parts;
  }
}

const REPORT = `import { fstatSync } from 'node:fs';
  const fd = process.env.SOCI_FUSE_FD;
  console.log(JSON.stringify({ fd, rdev: fd && fstatSync(Number(fd)).rdev, error: process.env.SOCI_FUSE_ERROR, args: process.argv.slice(2), ppid: process.ppid }));
  setInterval(() => {}, 1000);`;

describe('launch', () => {
  it('hands an open fuse device to the service, and its arguments', { skip: cannotMount() }, async (t) => {
    const { line, launcher } = startLauncher(t, REPORT);
    const report = JSON.parse(await line()) as Record<string, unknown>;
    assert.deepEqual(report, { fd: '3', rdev: (10 << 8) | 229, args: ['--flag', 'a b'], ppid: launcher.pid });
  });

  it('starts the service without a device, and tells it why', async (t) => {
    const { line } = startLauncher(t, REPORT, { device: '/no/such/device' }, { SOCI_FUSE_FD: '7' });
    const report = JSON.parse(await line()) as Record<string, unknown>;
    assert.equal(report['fd'], undefined);
    assert.match(String(report['error']), /ENOENT.*\/no\/such\/device/);
  });

  it('does not take another file for the device', async (t) => {
    const { line } = startLauncher(t, REPORT, { device: '/dev/null' });
    assert.match(String((JSON.parse(await line()) as Record<string, unknown>)['error']), /not the fuse device/);
  });

  it('passes signals on, and ends with the code of the service', async (t) => {
    const { line, launcher, ended } = startLauncher(
      t,
      `process.on('SIGTERM', () => process.exit(7)); setInterval(() => {}, 1000); console.log('up');`,
    );
    await line();
    launcher.kill('SIGTERM');
    assert.deepEqual(await ended, { code: 7, signal: null });
  });

  it('ends by the signal that ended the service', async (t) => {
    const { line, ended } = startLauncher(t, `setInterval(() => {}, 1000); console.log(process.pid);`);
    process.kill(Number(await line()), 'SIGKILL');
    assert.deepEqual(await ended, { code: null, signal: 'SIGKILL' });
  });

  it('is called as it was told, and stays below 50 MB', async (t) => {
    const { line, launcher } = startLauncher(t, REPORT);
    await line();
    const status = readFileSync(`/proc/${launcher.pid}/status`, 'utf8');
    assert.match(status, /^Name:\tsoci-launcher-t$/m);
    const rssKib = Number(/^VmRSS:\s+([0-9]+) kB$/m.exec(status)?.[1]);
    assert.ok(rssKib < 50 * 1024, `${rssKib} KiB`);
  });
});

describe('inheritedFuse', () => {
  const cases = [
    { name: 'nothing', environment: {}, reason: /not started by the launcher/ },
    { name: 'why there is none', environment: { SOCI_FUSE_ERROR: 'gone' }, reason: /^gone$/ },
    { name: 'no number', environment: { SOCI_FUSE_FD: '3x' }, reason: /is no descriptor: 3x/ },
    { name: 'standard input', environment: { SOCI_FUSE_FD: '0' }, reason: /is no descriptor/ },
    { name: 'a number that is not open', environment: { SOCI_FUSE_FD: '99999' }, reason: /EBADF/ },
  ];
  for (const { name, environment, reason } of cases) {
    it(`finds ${name}`, () => {
      const found = inheritedFuse(environment);
      assert.ok(found.kind === 'none');
      assert.match(found.reason, reason);
    });
  }
});
