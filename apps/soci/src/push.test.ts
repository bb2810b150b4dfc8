import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, it } from 'node:test';
import { containerdApi, type Lease } from '@soci/content';
import { NAMESPACE_HEADER, openChannel } from '@soci/rpc';
import { Containerd, Registry } from '@soci/testing';
import { importLayout, unpackGolden } from './testing/golden.ts';
import { containerdOptions, whyNot } from './testing/needs.ts';
import { runSoci, type Run, type RunOptions } from './testing/run-soci.ts';

const signal = new AbortController().signal;
const PASSWORD = 'correct-horse';
const LOGIN = `alice:${PASSWORD}`;

describe('soci push', { skip: whyNot('docker-registry') }, () => {
  let directory: string;
  let privateRegistry: Registry;
  let openRegistry: Registry;
  let globals: readonly string[];
  const opened = new AsyncDisposableStack();

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'soci-'));
    opened.defer(() => rm(directory, { recursive: true, force: true }));
    await unpackGolden(directory);
    const containerd = opened.use(await Containerd.start(containerdOptions(directory)));
    const login = { username: 'alice', password: PASSWORD };
    privateRegistry = opened.use(await Registry.start({ directory: join(directory, 'private'), login }));
    openRegistry = opened.use(await Registry.start({ directory: join(directory, 'open') }));
    const channel = opened.use(openChannel({ address: containerd.address, headers: { [NAMESPACE_HEADER]: 'push' } }));
    globals = ['--address', containerd.address, '-n', 'push', '--content-store', 'soci', '--root', join(directory, 'root')];
    const leases: Lease[] = [];
    for (const host of [privateRegistry.host, openRegistry.host, 'no-such-host.invalid']) {
      leases.push(await importLayout(containerdApi(channel), join(directory, 'layouts/plain'), `${host}/team/app:1`, signal));
    }
    for (const lease of leases) opened.use(lease);
    const created = await runSoci([...globals, 'create', '-p', 'linux/amd64', '--min-layer-size', '0', `${openRegistry.host}/team/app:1`]);
    assert.equal(created.exit, 0, created.stderr);
  });

  after(() => opened.disposeAsync());

  const push = (host: string, flags: readonly string[], options: RunOptions = {}): Promise<Run> =>
    runSoci([...globals, 'push', '--plain-http', '-p', 'linux/amd64', ...flags, `${host}/team/app:1`], {
      environment: { DOCKER_CONFIG: join(directory, 'no-docker-config'), PATH: '/usr/bin:/bin' },
      ...options,
    });

  async function dockerConfig(name: string, content: string): Promise<RunOptions> {
    const folder = join(directory, name);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'config.json'), content, { mode: 0o600 });
    return { environment: { DOCKER_CONFIG: folder, PATH: '/usr/bin:/bin' } };
  }

  function assertRefused(run: Run, ...mentions: readonly (string | RegExp)[]): void {
    assert.equal(run.exit, 1, run.output);
    const errors = run.stderr
      .trimEnd()
      .split('\n')
      .filter((line) => !line.startsWith('soci: warning:'));
    assert.equal(errors.length, 1, run.stderr);
    for (const mention of mentions)
      assert.match(errors[0] ?? '', typeof mention === 'string' ? new RegExp(RegExp.escape(mention)) : mention);
    for (const secret of [PASSWORD, 'wrong-horse', Buffer.from(LOGIN).toString('base64')]) assert.ok(!run.output.includes(secret));
  }

  it('sends image, artifacts and index, and says what it does', async () => {
    const run = await push(openRegistry.host, []);
    assert.equal(run.exit, 0, run.output);
    const lines = run.stdout.trimEnd().split('\n');
    assert.equal(lines[0], 'checking if a soci index already exists in remote repository...');
    const [, index] = /^pushing soci index with digest: (sha256:[0-9a-f]{64})$/.exec(lines[1] ?? '') ?? [];
    assert.deepEqual(lines.slice(-2), [`pushing artifact with digest: ${index}`, `successfully pushed artifact with digest: ${index}`]);
    const referrers = await fetch(
      `http://${openRegistry.host}/v2/team/app/manifests/sha256-e4a7ccc42e3ab8494773a3d85a03e330ed5fb7c65302ac691b4e48459ba5e230`,
      {
        headers: { accept: 'application/vnd.oci.image.index.v1+json' },
      },
    );
    assert.match(await referrers.text(), new RegExp(String(index)));
  });

  it('goes to the host that hosts.toml names for pushes', async () => {
    const name = 'no-such-host.invalid';
    const folder = join(directory, 'certs.d', name);
    await mkdir(folder, { recursive: true });
    const toml = `[host."http://127.0.0.1:1"]\ncapabilities = ["pull"]\n[host."http://${openRegistry.host}"]\n`;
    await writeFile(join(folder, 'hosts.toml'), toml);
    const run = await push(name, ['--existing-index', 'allow', '--hosts-dir', join(directory, 'certs.d')]);
    assert.equal(run.exit, 0, run.output);
    assert.match(run.stdout, /^pushing soci index with digest: /);
    assert.match((await push(name, ['--hosts-dir', ''])).output, /no-such-host\.invalid/);
  });

  it('finds an index that is there: warns, skips, or does not look', async () => {
    const digest = (await push(openRegistry.host, ['--quiet', '--existing-index', 'allow'])).stdout.trim();
    assert.match(digest, /^sha256:[0-9a-f]{64}$/);
    const warned = await push(openRegistry.host, ['--quiet']);
    assert.equal(warned.stdout, `[WARN] soci index found in remote repository with digest: ${digest}: pushing index anyway\n${digest}\n`);
    const skipped = await push(openRegistry.host, ['--existing-index', 'skip']);
    assert.equal(
      skipped.stdout,
      `checking if a soci index already exists in remote repository...\nsoci index found in remote repository with digest: ${digest}: skipping pushing artifacts for image manifest: sha256:e4a7ccc42e3ab8494773a3d85a03e330ed5fb7c65302ac691b4e48459ba5e230\n`,
    );
    const again = await push(openRegistry.host, ['--existing-index', 'allow']);
    assert.equal(again.stdout, `pushing soci index with digest: ${digest}\nskipped artifact with digest: ${digest}\n`);
  });

  it('logs in by --user, by --password-stdin and by the Docker config', async () => {
    const { host } = privateRegistry;
    assert.equal((await push(host, ['--user', LOGIN])).exit, 0);
    assert.equal(
      (await push(host, ['--user', 'alice', '--password-stdin'], { stdin: Readable.from([Buffer.from(`${PASSWORD}\n`)]) })).exit,
      0,
    );
    const auth = Buffer.from(LOGIN).toString('base64');
    const run = await push(host, [], await dockerConfig('good', JSON.stringify({ auths: { [host]: { auth } } })));
    assert.equal(run.exit, 0, run.output);
  });

  it('does not wait for a password for ever', async () => {
    const stdin = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => undefined) }) };
    const run = await push(privateRegistry.host, ['--timeout', '300ms', '--user', 'alice', '--password-stdin'], { stdin });
    assert.equal(run.exit, 1);
    assert.equal(run.stderr, 'soci: not done within 0.3s (--timeout)\n');
  });

  it('names registry and source when the login is refused', async () => {
    const { host } = privateRegistry;
    assertRefused(await push(host, ['--user', 'alice:wrong-horse']), host, '--user');
    const auth = Buffer.from('alice:wrong-horse').toString('base64');
    const options = await dockerConfig('wrong', JSON.stringify({ auths: { [host]: { auth } } }));
    assertRefused(await push(host, [], options), host, join(directory, 'wrong/config.json'));
    assertRefused(await push(host, []), host, /no credential|anonymous/i);
  });

  it('names a host that is not there', async () => {
    assertRefused(await push('no-such-host.invalid', ['--user', LOGIN]), 'no-such-host.invalid', /ENOTFOUND|EAI_AGAIN/);
  });

  it('names a helper that is missing, and does not go on without a login', async () => {
    const { host } = privateRegistry;
    const options = await dockerConfig('helper', JSON.stringify({ credHelpers: { [host]: 'not-there' } }));
    assertRefused(await push(host, [], options), host, 'not-there', join(directory, 'helper/config.json'));
  });

  it('warns of a broken config.json and goes on without it', async () => {
    const options = await dockerConfig('broken', '{"auths":');
    const path = join(directory, 'broken/config.json');
    const anonymous = await push(openRegistry.host, [], options);
    assert.equal(anonymous.exit, 0, anonymous.output);
    const refused = await push(privateRegistry.host, [], options);
    assertRefused(refused, privateRegistry.host);
    assert.match(refused.stderr, new RegExp(`^soci: warning: .*${RegExp.escape(path)}`));
    const withUser = await push(privateRegistry.host, ['--user', LOGIN], options);
    assert.equal(withUser.exit, 0, withUser.output);
  });

  const mistakes: readonly { readonly args: readonly string[]; readonly says: RegExp }[] = [
    { args: ['push'], says: /^soci: please provide an image reference to push$/m },
    {
      args: ['push', '--existing-index', 'x', 'a/b:1'],
      says: /^soci: unexpected value for flag existing-index: x, expected types \[warn skip allow\]$/m,
    },
    { args: ['push', 'example.invalid/none:1'], says: /^soci: image "example.invalid\/none:1": not found$/m },
    { args: ['push', '--max-concurrent-uploads', '-1', 'a/b:1'], says: /^soci: invalid value "-1" for flag -max-concurrent-uploads/m },
  ];
  for (const { args, says } of mistakes) {
    it(`says what is wrong with ${args.join(' ')}`, async () => {
      const run = await runSoci([...globals, ...args]);
      assert.equal(run.exit, 1);
      assert.match(run.stderr, says);
    });
  }

  it('has nothing to push for a platform without an index', async () => {
    const run = await runSoci([...globals, 'index', 'rm', '--ref', `${openRegistry.host}/team/app:1`]);
    assert.equal(run.exit, 0, run.stderr);
    assertRefused(await push(openRegistry.host, []), 'could not find any soci index manifest v1 to push for platform linux/amd64');
  });
});
