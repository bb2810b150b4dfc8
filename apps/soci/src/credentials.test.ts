import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { DockerConfigSource, identityToken, PullSecretSource, type ChainLink, type CredentialSource } from '@soci/keychain';
import { collectLogs } from '@soci/log';
import { serveAdmin } from '@soci/status';
import { runSoci, type Run } from './testing/run-soci.ts';

const CANARY = 'c4nary/+~wing"s';
const AUTH = Buffer.from(`alice:${CANARY}`).toString('base64');
const HOST = 'registry.example.com';

/** Every form in which the secret may show itself; base64 at any of the three offsets. */
const FORMS = [
  CANARY,
  encodeURIComponent(CANARY),
  JSON.stringify(CANARY).slice(1, -1),
  ...[0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), Buffer.from(CANARY)]).toString('base64');
    return text.slice(offset === 0 ? 0 : offset + 1, -4);
  }),
];

class Service {
  readonly folder: string;
  readonly logs = collectLogs();
  readonly #t: TestContext;

  constructor(t: TestContext, folder: string) {
    this.#t = t;
    this.folder = folder;
  }

  static async make(t: TestContext): Promise<Service> {
    const folder = await mkdtemp(join(tmpdir(), 'soci-credentials-'));
    t.after(() => rm(folder, { recursive: true, force: true }));
    return new Service(t, folder);
  }

  get address(): string {
    return join(this.folder, 'admin.sock');
  }

  async dockerConfig(content: unknown): Promise<CredentialSource> {
    const path = join(this.folder, 'config.json');
    await writeFile(path, JSON.stringify(content), { mode: 0o600 });
    return new DockerConfigSource({ path, env: { PATH: this.folder }, log: this.logs.log });
  }

  secrets(...secrets: readonly (readonly [namespace: string, name: string])[]): PullSecretSource {
    const source = new PullSecretSource({ log: this.logs.log });
    for (const [namespace, name] of secrets) {
      const auth = Buffer.from(`${namespace}-${name}:${CANARY}`).toString('base64');
      const document = JSON.stringify({ auths: { [HOST]: { auth } } });
      source.put({ namespace, name, type: 'kubernetes.io/dockerconfigjson', document });
    }
    return source;
  }

  async serve(...sources: readonly ChainLink[]): Promise<void> {
    const server = await serveAdmin({ address: this.address, log: this.logs.log, sources });
    this.#t.after(() => server?.stop());
  }

  /** Runs the command; whatever it does, the canary must be nowhere. */
  async soci(...args: readonly string[]): Promise<Run> {
    const run = await runSoci(['credentials', '--admin-address', this.address, ...args]);
    const everything = run.output + this.logs.lines.join('\n');
    for (const form of FORMS) assert.ok(!everything.includes(form), `found ${form}`);
    return run;
  }
}

/** The rows of the table, cells without padding. */
function rows({ stdout }: Run): readonly (readonly string[])[] {
  const table = stdout.slice(stdout.indexOf('SOURCE'));
  const header = table.slice(0, table.indexOf('\n'));
  const starts = [...header.matchAll(/\S+/g)].map(({ index }) => index);
  return table
    .trimEnd()
    .split('\n')
    .slice(1)
    .map((line) => starts.map((start, i) => line.slice(start, starts[i + 1]).trim()));
}

const CRI_OFF = { name: 'cri', off: '[cri_keychain] enable_keychain is false' } as const;

describe('soci credentials', () => {
  it('shows which source serves an image, and what the others have', async (t) => {
    const service = await Service.make(t);
    const secrets = service.secrets(['team-a', 'pull'], ['team-b', 'pull']);
    secrets.markSynced();
    await service.serve({ source: await service.dockerConfig({ auths: { [HOST]: { auth: AUTH } } }) }, CRI_OFF, { source: secrets });
    const run = await service.soci(`${HOST}/team/app:1`);
    assert.equal(run.exit, 0, run.output);
    assert.match(
      run.stdout,
      /^Image: {7}registry\.example\.com\/team\/app:1\nRegistry: {4}registry\.example\.com\nResult: {6}the registry is shown what docker-config has\n\n/,
    );
    const path = join(service.folder, 'config.json');
    const [docker = [], ...others] = rows(run);
    assert.deepEqual(docker.slice(0, 3), ['docker-config', 'matched', 'yes']);
    assert.ok(docker[3]?.includes(HOST) === true && docker[3].includes(path), docker[3]);
    assert.deepEqual(docker.slice(4), ['basic', 'read now', '']);
    assert.deepEqual(others, [
      ['cri', 'off', '', '', '', '', '[cri_keychain] enable_keychain is false'],
      ['kubernetes-secrets', 'matched', '', 'secret team-a/pull', 'basic', '0s ago', 'docker-config comes first'],
      ['kubernetes-secrets', 'matched', '', 'secret team-b/pull', 'basic', '0s ago', 'docker-config comes first'],
    ]);
  });

  it('says in which order the entries of one source are tried, and how many', async (t) => {
    const service = await Service.make(t);
    const candidates = ['a', 'b', 'c', 'd', 'e', 'f'].map((entry) => ({ credential: identityToken(CANARY + entry), entry }));
    const source: CredentialSource = { name: 's', resolve: () => Promise.resolve({ kind: 'candidates', source: 's', candidates }) };
    await service.serve({ source });
    const used = rows(await service.soci(`${HOST}/app`)).map((row) => [row[2], row[6]]);
    const tried = ['if refused', ''];
    assert.deepEqual(used, [['yes', ''], tried, tried, tried, tried, ['', 'at most 5 are tried']]);
  });

  it('is as good with --json', async (t) => {
    const service = await Service.make(t);
    const token: CredentialSource = {
      name: 'credential-plugins',
      resolve: () =>
        Promise.resolve({
          kind: 'candidates',
          source: 'credential-plugins',
          candidates: [{ credential: identityToken(CANARY), entry: 'plugin x' }],
        }),
    };
    await service.serve(CRI_OFF, { source: token });
    const run = await service.soci('--json', '--registry', 'mirror.example.com:5000', '--pod-namespace', 'team-a,team-b', 'alpine');
    assert.equal(run.exit, 0, run.output);
    assert.deepEqual(JSON.parse(run.stdout), {
      reference: 'docker.io/library/alpine:latest',
      host: 'mirror.example.com:5000',
      namespaces: ['team-a', 'team-b'],
      sources: [
        { name: 'cri', outcome: 'off', reason: '[cri_keychain] enable_keychain is false', entries: [] },
        { name: 'credential-plugins', outcome: 'matched', reason: '', entries: [{ entry: 'plugin x', kind: 'identity_token' }] },
      ],
      verdict: { kind: 'credentials', source: 'credential-plugins' },
    });
  });

  it('takes every form of an image name', async (t) => {
    const service = await Service.make(t);
    await service.serve(CRI_OFF);
    const digest = `sha256:${'a'.repeat(64)}`;
    for (const [name, full, registry] of [
      ['alpine', 'docker.io/library/alpine:latest', 'registry-1.docker.io'],
      ['team/app:2', 'docker.io/team/app:2', 'registry-1.docker.io'],
      ['index.docker.io/team/app', 'docker.io/team/app:latest', 'registry-1.docker.io'],
      ['localhost:5000/app', 'localhost:5000/app:latest', 'localhost:5000'],
      ['[::1]:5000/app:1', '[::1]:5000/app:1', '[::1]:5000'],
      [`${HOST}/app@${digest}`, `${HOST}/app@${digest}`, HOST],
      [`${HOST}/app:1@${digest}`, `${HOST}/app:1@${digest}`, HOST],
    ] as const) {
      const run = await service.soci(name);
      assert.equal(run.exit, 0, run.output);
      assert.ok(run.stdout.startsWith(`Image:       ${full}\nRegistry:    ${registry}\n`), run.stdout);
    }
  });

  it('says that a registry is asked without a credential, and why no source has one', async (t) => {
    const service = await Service.make(t);
    const secrets = service.secrets(['team-a', 'pull']);
    secrets.markSynced();
    await service.serve({ source: await service.dockerConfig({}) }, { source: secrets });
    const run = await service.soci('other.example.com/app');
    assert.equal(run.exit, 0, run.output);
    assert.match(run.stdout, /^Result: {6}no source has a credential, the registry is asked without one$/m);
    assert.deepEqual(
      rows(run).map((row) => row.slice(0, 3)),
      [
        ['docker-config', 'none', ''],
        ['kubernetes-secrets', 'none', ''],
      ],
    );
  });

  it('fails where a source is not ready, and says which', async (t) => {
    const service = await Service.make(t);
    await service.serve({ source: service.secrets(['team-a', 'pull']) });
    const run = await service.soci(`${HOST}/app`);
    assert.equal(run.exit, 1);
    assert.match(run.stdout, /^Result: {6}requests wait: kubernetes-secrets cannot answer yet$/m);
    assert.match(run.stderr, /^soci: kubernetes-secrets is not ready: ./);
  });

  it('fails where a source failed, without what its helper printed', async (t) => {
    const service = await Service.make(t);
    const helper = join(service.folder, 'docker-credential-bad');
    await writeFile(helper, `#!/bin/sh\necho '${CANARY}'\necho '${CANARY}' >&2\nexit 1\n`);
    await chmod(helper, 0o700);
    await service.serve({ source: await service.dockerConfig({ credHelpers: { [HOST]: 'bad' } }) });
    for (const flags of [[], ['--json']]) {
      const run = await service.soci(...flags, `${HOST}/app`);
      assert.equal(run.exit, 1);
      assert.match(run.stderr, /^soci: docker-config failed: .*docker-credential-bad/);
    }
  });

  it('names the socket where no service runs, and what to do', async (t) => {
    const service = await Service.make(t);
    const run = await service.soci('alpine');
    assert.equal(run.exit, 1);
    assert.equal(run.stdout, '');
    assert.match(
      run.stderr,
      new RegExp(`^soci: no service answers at ${service.address}: start soci-snapshotter-grpc, or name .*--admin-address`),
    );
  });

  for (const [args, says] of [
    [[], 'please provide an image reference'],
    [['a/B:c:d'], 'image reference "a/B:c:d": '],
    [['a', '--registry', 'https://r'], 'registry "https://r": expected a host'],
    [['a', '--pod-namespace', 'A'], 'namespace "A": not a name of Kubernetes'],
  ] as const) {
    it(`says what is wrong with ${JSON.stringify(args)}`, async (t) => {
      const service = await Service.make(t);
      await service.serve();
      const run = await service.soci(...args);
      assert.equal(run.exit, 1);
      assert.ok(run.stderr.startsWith(`soci: ${says}`), run.stderr);
    });
  }

  it('has its flags in its help', async () => {
    const { stdout } = await runSoci(['credentials', '--help']);
    for (const flag of ['--json', '--admin-address', '/run/soci-snapshotter-grpc/admin.sock', '--registry', '--pod-namespace'])
      assert.ok(stdout.includes(flag), flag);
  });
});

describe('a password on the command line', () => {
  it('is warned of in the help', async () => {
    const { stdout } = await runSoci(['push', '--help']);
    assert.match(
      stdout.replaceAll(/\s+/g, ' '),
      /--user <user\[:password\]> .*stays in the shell history and can be read in the list of processes, use --password-stdin/,
    );
  });

  for (const args of [
    ['push', `--usr=alice:${CANARY}`, 'a/b:1'],
    ['push', `--usr`, `alice:${CANARY}`, 'a/b:1'],
    ['push', `-user=:${CANARY}`, 'a/b:1'],
    ['push', `-u=alice:${CANARY}`, '--nope', 'a/b:1'],
    ['push', '--user', `alice:${CANARY}`, '--password-stdin', 'a/b:1'],
    ['push', `--password-stdin=${CANARY}`, 'a/b:1'],
    ['push', `--refresh=${CANARY}`, '--span-size', 'x', 'a/b:1'],
  ]) {
    it(`is in no message: ${args.join(' ').replaceAll(CANARY, '...')}`, async (t) => {
      const { folder } = await Service.make(t);
      const run = await runSoci(['--root', join(folder, 'root'), '--address', join(folder, 'none.sock'), ...args]);
      assert.equal(run.exit, 1);
      for (const form of FORMS) assert.ok(!run.output.includes(form), run.output);
    });
  }
});
