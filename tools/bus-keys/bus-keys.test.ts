import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { connectBus } from '@soci/bus';
import { collectLogs } from '@soci/log';
import { freePort, Nats, waitFor } from '@soci/testing';
import { parseInvocation } from './command.ts';

const MAIN = join(import.meta.dirname, 'main.ts');

interface Outcome {
  readonly code: number;
  readonly output: string;
}

async function busKeys(...args: readonly string[]): Promise<Outcome> {
  return await new Promise((resolve) => {
    execFile(process.execPath, ['--conditions=@soci/source', MAIN, ...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr });
    });
  });
}

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'soci-bus-keys-'));
  t.after(async () => await rm(path, { recursive: true, force: true }));
  return join(path, 'keys');
}

async function seedsBelow(path: string): Promise<readonly string[]> {
  const files = (await readdir(path, { recursive: true })).filter((name) => name.endsWith('.seed'));
  return await Promise.all(files.map(async (name) => (await readFile(join(path, name), 'utf8')).trim()));
}

describe('bus-keys', () => {
  it('makes in one command what services and a server meet with, and prints no seed', async (t) => {
    const path = await folder(t);
    const port = await freePort();
    const made = await busKeys('init', '--dir', path, '--listen', `127.0.0.1:${port}`);
    assert.equal(made.code, 0, made.output);
    await using server = await Nats.start({ configPath: join(path, 'nats', 'nats-server.conf'), port, logPath: `${path}.log` });
    const { log } = collectLogs();
    await using resources = new AsyncDisposableStack();
    const buses = (['registry-fetcher', 'cri-proxy', 'secret-syncer'] as const).map((service) =>
      resources.use(connectBus({ servers: [server.url], keysDir: path, service, log })),
    );
    await waitFor(() => buses.every(({ state }) => state.kind === 'connected'), { timeoutMs: 5_000, what: 'all services to connect' });
    const outputs = [made.output];
    const before = await seedsBelow(path);
    for (const args of [
      ['show'],
      ['rotate', '--settle', '1', '--signal', String(server.pid)],
      ['rotate', '--finish', '--settle', '0'],
      ['certificate'],
    ]) {
      const { code, output } = await busKeys(...args, '--dir', path);
      assert.equal(code, 0, output);
      outputs.push(output);
    }
    for (const seed of [...before, ...(await seedsBelow(path))]) assert.ok(!outputs.join().includes(seed));
    assert.match(await server.log(), /Reloaded server configuration/);
  });

  it('adds nodes to a cluster and removes them', async (t) => {
    const path = await folder(t);
    await busKeys('init', '--dir', path, '--topology', 'cluster', '--node', 'n1.example.com');
    assert.equal((await busKeys('node', 'add', 'n2', '--dir', path)).code, 0);
    assert.deepEqual((await readdir(join(path, 'nodes'))).sort(), ['n1_example_com', 'n2']);
    assert.equal((await busKeys('node', 'remove', 'n1.example.com', '--dir', path)).code, 0);
    assert.deepEqual(await readdir(join(path, 'nodes')), ['n2']);
    const config = await readFile(join(path, 'nats', 'nats-server.conf'), 'utf8');
    assert.doesNotMatch(config, /n1_example_com/);
  });

  it('says in one line what is wrong', async (t) => {
    const path = await folder(t);
    const absent = await busKeys('show', '--dir', path);
    assert.deepEqual([absent.code, absent.output], [1, `bus-keys: ${path}: no deployment\n`]);
    const nobody = await busKeys('init', '--dir', path, '--owner', 'nats=no-such-user');
    assert.equal(nobody.code, 2);
    assert.match(nobody.output, /^bus-keys: no user no-such-user\nusage:/);
  });

  for (const wrong of [
    [],
    ['init'],
    ['frob', '--dir', 'd'],
    ['init', 'more', '--dir', 'd'],
    ['init', '--dir', 'd', '--topology', 'ring'],
    ['init', '--dir', 'd', '--owner', 'someone=1:1'],
    ['node', '--dir', 'd'],
    ['node', 'add', '--dir', 'd'],
    ['rotate', 'locks', '--dir', 'd'],
    ['rotate', '--use', '--finish', '--dir', 'd'],
    ['rotate', '--service', 'x', '--dir', 'd'],
    ['show', '--dir', 'd', '--settle', '-1'],
    ['show', '--dir', 'd', '--unknown'],
  ]) {
    it(`refuses ${JSON.stringify(wrong)}`, () => assert.throws(() => parseInvocation(wrong), { name: 'UsageError' }));
  }
});
