import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cannotMount } from '@soci/linux/testing';
import { inheritedFuse, type KeepOptions } from './device.ts';

/** @returns what a service that a keeper starts finds, and the keeper's process id */
async function reportOfService(t: TestContext, device: string, environment: NodeJS.ProcessEnv = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'soci-device-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const [main, start] = [join(directory, 'service.mjs'), join(directory, 'start.ts')];
  writeFileSync(main, REPORT);
  const options: KeepOptions = { main, args: ['--flag', 'a b'], title: 'soci-device-test', device };
  const keep = fileURLToPath(new URL('./keep.ts', import.meta.url));
  writeFileSync(start, `import { keep } from ${JSON.stringify(keep)}; await keep(${JSON.stringify(options)});`);
  const keeper = spawn(process.execPath, [start], { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...environment } });
  const [line] = (await once(createInterface(keeper.stdout), 'line')) as [string];
  keeper.kill('SIGTERM');
  await once(keeper, 'exit');
  return { pid: keeper.pid, report: JSON.parse(line) as Record<string, unknown> };
}

const REPORT = `import { fstatSync } from 'node:fs';
  const fd = process.env.SOCI_FUSE_FD;
  console.log(JSON.stringify({ fd, rdev: fd && fstatSync(Number(fd)).rdev, error: process.env.SOCI_FUSE_ERROR, args: process.argv.slice(2), ppid: process.ppid }));
  setInterval(() => {}, 1000);`;

describe('keep', () => {
  it('hands an open fuse device to the service, and its arguments', { skip: cannotMount() }, async (t) => {
    const { report, pid } = await reportOfService(t, '/dev/fuse');
    assert.deepEqual(report, { fd: '3', rdev: (10 << 8) | 229, args: ['--flag', 'a b'], ppid: pid });
  });

  it('starts the service without a device, and tells it why', async (t) => {
    const { report } = await reportOfService(t, '/no/such/device', { SOCI_FUSE_FD: '7' });
    assert.equal(report['fd'], undefined);
    assert.match(String(report['error']), /ENOENT.*\/no\/such\/device/);
  });

  it('does not take another file for the device', async (t) => {
    const { report } = await reportOfService(t, '/dev/null');
    assert.match(String(report['error']), /not the fuse device/);
  });
});

describe('inheritedFuse', () => {
  const cases = [
    { name: 'nothing', environment: {}, reason: /not started by a keeper/ },
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
