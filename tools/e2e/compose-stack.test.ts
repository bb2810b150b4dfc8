import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { ROOT } from './stack.ts';

const run = promisify(execFile);
const NATS = '/usr/sbin/nats-server';
const TIMEOUT_MS = 180_000;
const SERVICES = ['nats', 'registry', 'node', 'registry-fetcher', 'cri-proxy'];

/** The stack of docker-compose.yml as processes, and an image that is pushed, pulled through cri-proxy and run. */
async function demo(args: readonly string[]): Promise<string> {
  const { stdout } = await run(join(ROOT, 'tools', 'stack', 'run.sh'), ['demo', '--small', ...args], { timeout: TIMEOUT_MS });
  return stdout;
}

describe('the stack of docker-compose.yml as processes', { skip: !existsSync(NATS) && 'nats-server is not installed' }, () => {
  it('runs an image that is pulled through cri-proxy', async () => {
    assert.match(await demo([]), /\b2 layers mounted lazily/);
  });

  it('does so also when every service is started before the one that it needs', async () => {
    assert.match(await demo(['--order', SERVICES.toReversed().join(',')]), /\b2 layers mounted lazily/);
  });

  it('gets the login of a pull from cri-proxy over the bus', async () => {
    assert.match(await demo(['--over-bus']), /\b2 layers mounted lazily/);
  });

  it('follows the secrets of a cluster besides', async () => {
    assert.match(await demo(['--cluster', '--over-bus']), /\b2 layers mounted lazily/);
  });

  it('tells of its commands', async () => {
    const { stdout } = await run(join(ROOT, 'tools', 'stack', 'run.sh'), ['--help']);
    assert.match(stdout, /^usage: npm run stack/);
  });
});
