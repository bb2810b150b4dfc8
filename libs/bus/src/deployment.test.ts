import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { collectLogs } from '@soci/log';
import { freePort, Nats, waitFor } from '@soci/testing';
import { Deployment } from './deployment/deployment.ts';
import { KeyFolder } from './keys/key-folder.ts';
import type { NatsBus } from './nats-bus.ts';
import { connected, Deployed } from './testing/deployed.ts';
import { plainMethod, question, sealedMethod } from './testing/methods.ts';

const never = new AbortController().signal;
const method = sealedMethod('secret-syncer');

function filesBelow(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true }).map((entry) => join(entry.parentPath, entry.name));
}

function seedsBelow(directory: string): readonly string[] {
  return filesBelow(directory)
    .filter((path) => path.endsWith('.seed'))
    .map((path) => readFileSync(path, 'utf8'));
}

describe('Deployment', () => {
  it('makes files that only their owner can read, and seeds that are in one place each', async () => {
    await using deployed = await Deployed.make(4_222, ['n1', 'n2.example.com']);
    const { path } = deployed.deployment;
    for (const each of [path, ...filesBelow(path)]) {
      const status = statSync(each);
      assert.equal((status.mode & 0o777).toString(8), status.isDirectory() ? '700' : '600', each);
    }
    const seeds = seedsBelow(path);
    assert.equal(seeds.length, 3 + 2 * (2 + 3));
    assert.equal(new Set(seeds).size, seeds.length);
    for (const file of filesBelow(path).filter((each) => statSync(each).isFile() && !each.endsWith('.seed'))) {
      const text = readFileSync(file, 'utf8');
      for (const seed of seeds) assert.ok(!text.includes(seed.trim()), file);
    }
    assert.deepEqual(deployed.deployment.nodes, ['n1', 'n2_example_com']);
  });

  it('makes a configuration that the server takes', async () => {
    await using deployed = await Deployed.make(await freePort(), ['n1'], 'host');
    execFileSync('/usr/sbin/nats-server', ['-t', '-c', deployed.server.configPath], { stdio: 'ignore' });
  });

  it('is made once, and says what is wrong', async () => {
    await using deployed = await Deployed.make(4_222, ['n1'], 'host');
    const { path } = deployed.deployment;
    const options = { path, topology: 'host', nodes: ['n1'], hosts: ['h'], listen: '127.0.0.1:1' } as const;
    await assert.rejects(Deployment.create(options), { code: 'EXISTS' });
    await assert.rejects(Deployment.create({ ...options, path: `${path}2`, nodes: ['a', 'b'] }), { code: 'INVALID' });
    await assert.rejects(Deployment.open(join(path, 'nats')), { code: 'NOT_FOUND' });
    await assert.rejects(deployed.deployment.addNode('n2'), { code: 'INVALID' });
    await assert.rejects(deployed.deployment.removeNode('n2'), { code: 'NOT_FOUND' });
    for (const name of ['', 'a b', 'a*', 'a.>', '-a', 'a_b', '../x', 'a"b', 'ä'])
      await assert.rejects(deployed.deployment.addNode(name), TypeError, name);
    writeFileSync(join(path, 'deployment.json'), '{"version":1}');
    await assert.rejects(Deployment.open(path), { code: 'INVALID' });
  });

  it('lets services that run as other users get to their own folder', { skip: process.getuid?.() !== 0 && 'needs root' }, async () => {
    await using deployed = await Deployed.make(4_222);
    const path = join(deployed.directory, 'owned');
    const owners = { 'cri-proxy': { uid: 1_234, gid: 1_235 } };
    await Deployment.create({ path, topology: 'host', nodes: ['n1'], hosts: ['127.0.0.1'], listen: '127.0.0.1:1', owners });
    for (const each of ['', 'login.seed', 'peers.json']) {
      const { uid, gid } = statSync(join(path, 'cri-proxy', each));
      assert.deepEqual([uid, gid], [1_234, 1_235]);
    }
    assert.equal(statSync(path).mode & 0o777, 0o711);
    assert.equal(statSync(join(path, 'cri-proxy')).mode & 0o777, 0o700);
    assert.equal(statSync(join(path, 'secret-syncer')).uid, 0);
  });
});

describe('KeyFolder', () => {
  it('takes no files that others can read, or that lack something', async () => {
    await using deployed = await Deployed.make(4_222);
    const path = join(deployed.keysDir('node-x'), 'registry-fetcher');
    const { log } = collectLogs();
    const read = async (service: 'registry-fetcher' | 'cri-proxy' = 'registry-fetcher') =>
      await new KeyFolder({ path, service, log }).read();
    assert.equal((await read()).identity.node, 'node-x');
    await assert.rejects(read('cri-proxy'), { code: 'KEYS_UNUSABLE' });
    chmodSync(join(path, 'login.seed'), 0o604);
    await assert.rejects(read(), { code: 'KEYS_UNUSABLE' });
    chmodSync(join(path, 'login.seed'), 0o640); // as Kubernetes gives a secret to a group
    await read();
    writeFileSync(join(path, 'curve.seed'), 'SXnonsense');
    await assert.rejects(read(), { code: 'KEYS_UNUSABLE' });
  });

  it('goes on with what it has when the files cannot be read, and says so once', async () => {
    await using deployed = await Deployed.make(4_222);
    const path = join(deployed.keysDir('node-x'), 'registry-fetcher');
    const { log, lines } = collectLogs();
    const folder = new KeyFolder({ path, service: 'registry-fetcher', log });
    const before = await folder.read();
    writeFileSync(join(path, 'peers.json'), 'canary {');
    for (let i = 0; i < 2; i++) {
      await sleep(1_050);
      assert.equal(await folder.read(), before);
    }
    assert.equal(lines.length, 1);
  });
});

describe('keys that change while services run', () => {
  /** Two nodes that ask all the time. */
  async function start() {
    const resources = new AsyncDisposableStack();
    const deployed = resources.use(await Deployed.make(await freePort(), ['node-x', 'node-y']));
    const nats = resources.use(await Nats.start(deployed.server));
    const { log } = collectLogs();
    const syncer = resources.use(deployed.bus('secret-syncer', undefined, log));
    syncer.serve(method, (_, { node }) => node);
    const x = resources.use(deployed.bus('registry-fetcher', 'node-x', log));
    const y = resources.use(deployed.bus('registry-fetcher', 'node-y', log));
    await connected(syncer, x, y);
    return { deployed, nats, syncer, x, y, log, resources, [Symbol.asyncDispose]: () => resources.disposeAsync() };
  }

  async function askOn(bus: NatsBus, over: AbortSignal): Promise<readonly string[]> {
    const failures: string[] = [];
    for (let i = 0; !over.aborted; i++) {
      await bus.request(method, question(`${i}`), never).catch((error: unknown) => failures.push(String(error)));
      await sleep(5);
    }
    return failures;
  }

  it('a rotation of all keys fails no request, and afterwards the old keys are no good', async () => {
    await using rig = await start();
    const { deployed, nats, x } = rig;
    const old = readFileSync(join(deployed.keysDir('node-x'), 'registry-fetcher', 'login.seed'), 'utf8');
    const allOld = seedsBelow(deployed.deployment.path);
    const over = new AbortController();
    const asking = askOn(x, over.signal);
    const settle = async (): Promise<void> => {
      await nats.reload();
      await sleep(4_000);
    };
    await deployed.deployment.announceKeys({});
    await settle();
    assert.equal(await deployed.deployment.useKeys(), true);
    await assert.rejects(deployed.deployment.announceKeys({}), { code: 'INVALID' });
    await sleep(5_000);
    await (await Deployment.open(deployed.deployment.path)).finishRotation(settle);
    await nats.reload();
    await sleep(3_000);
    over.abort();
    assert.deepEqual(await asking, []);
    const allNew = seedsBelow(deployed.deployment.path);
    assert.equal(allNew.length, allOld.length);
    assert.deepEqual(
      allNew.filter((seed) => allOld.includes(seed)),
      [],
    );
    writeFileSync(join(deployed.keysDir('node-y'), 'registry-fetcher', 'login.seed'), old, { mode: 0o600 });
    const late = rig.resources.use(deployed.bus('registry-fetcher', 'node-y', rig.log));
    await waitFor(() => late.state.kind === 'away' && /authorization/i.test(late.state.reason), {
      timeoutMs: 5_000,
      what: 'the old key to be refused',
    });
  });

  it('a node that is removed is refused at once, and the others go on', async () => {
    await using rig = await start();
    const { deployed, nats, x, y } = rig;
    const over = new AbortController();
    const asking = askOn(x, over.signal);
    assert.equal(await y.request(method, question('q'), never), 'node-y');
    await deployed.deployment.removeNode('node-y');
    await nats.reload();
    await waitFor(() => y.state.kind === 'away', { timeoutMs: 5_000, what: 'the node to be out' });
    await assert.rejects(y.request(method, question('q'), never), { code: 'AWAY' });
    assert.ok(!existsSync(join(deployed.deployment.path, 'nodes', 'node-y')));
    over.abort();
    assert.deepEqual(await asking, []);
  });

  it('a node that is gone from the list of a service is refused, whatever the server lets through', async () => {
    await using rig = await start();
    const path = join(rig.deployed.keysDir(), 'secret-syncer', 'peers.json');
    const peers = JSON.parse(readFileSync(path, 'utf8')) as { nodes: Record<string, unknown> };
    delete peers.nodes['node-y'];
    assert.equal(await rig.y.request(method, question('q'), never), 'node-y');
    writeFileSync(path, JSON.stringify(peers));
    await waitFor(
      () =>
        rig.y.request(method, question('q'), never).then(
          () => false,
          (error: unknown) => (error as { reason?: string }).reason === 'UNKNOWN_NODE',
        ),
      { timeoutMs: 5_000, what: 'the node to be refused' },
    );
  });

  it('a node that is added comes in without a start of anybody', async () => {
    await using rig = await start();
    await rig.deployed.deployment.addNode('node-z');
    await rig.nats.reload();
    const z = rig.resources.use(rig.deployed.bus('registry-fetcher', 'node-z', rig.log));
    await connected(z);
    await waitFor(async () => (await z.request(method, question('q'), never)) === 'node-z', {
      timeoutMs: 5_000,
      what: 'the node to be answered',
    });
  });

  it('a service that has no keys yet connects when they are there', async () => {
    await using deployed = await Deployed.make(await freePort());
    const { log, lines } = collectLogs();
    await using bus = deployed.bus('registry-fetcher', 'node-new', log);
    await waitFor(() => lines.length > 0, { timeoutMs: 2_000, what: 'the reason' });
    assert.match(lines.join(), /no such file|ENOENT/);
    await assert.rejects(bus.request(plainMethod(), question('q'), never), { code: 'AWAY' });
    await deployed.deployment.addNode('node-new');
    await using nats = await Nats.start(deployed.server);
    await connected(bus);
    assert.ok(nats.pid > 0);
  });
});
