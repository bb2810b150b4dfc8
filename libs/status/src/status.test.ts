import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, stat, symlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { basic, identityToken, KeychainError, registryToken, type Answer, type CredentialSource, type Lookup } from '@soci/keychain';
import { collectLogs, type Logger } from '@soci/log';
import { openStatus, serveAdmin, StatusError, type CredentialsReport, type CredentialsRequest, type ServeAdminOptions } from './index.ts';

const signal = new AbortController().signal;
const CANARY = 'canary-b1rd-secret';
const NONE: Answer = { kind: 'none' };
const NOW_MS = 1_800_000_000_000;

async function makeTempDir(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'soci-status-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

function sourceOf(name: string, answer: Answer | Error, asked: Lookup[] = []): CredentialSource {
  return {
    name,
    resolve: (lookup) => {
      asked.push(lookup);
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
  };
}

function matched(source: string, ...entries: readonly string[]): Answer {
  return { kind: 'candidates', source, candidates: entries.map((entry) => ({ credential: basic('alice', CANARY), entry })) };
}

interface Admin {
  readonly address: string;
  readonly ask: (request: CredentialsRequest) => Promise<CredentialsReport>;
}

async function startAdmin(
  t: TestContext,
  options: Omit<ServeAdminOptions, 'address' | 'log'>,
  log: Logger = collectLogs().log,
): Promise<Admin> {
  const address = join(await makeTempDir(t), 'run/admin.sock');
  const server = await serveAdmin({ address, log, nowMs: () => NOW_MS, ...options });
  assert.ok(server !== undefined);
  t.after(() => server.stop());
  const client = openStatus(address);
  t.after(() => client[Symbol.dispose]());
  return { address, ask: (request) => client.credentials(request, signal) };
}

describe('the credentials of an image', () => {
  it('are told by source: entry, kind, age, and which is used; never the secret', async (t) => {
    const answer: Answer = {
      kind: 'candidates',
      source: 'kubernetes-secrets',
      candidates: [
        { credential: basic('alice', CANARY), entry: 'secret team-a/pull', sinceMs: NOW_MS - 90_000 },
        { credential: identityToken(CANARY), entry: 'secret team-b/pull', sinceMs: NOW_MS + 5 },
        { credential: registryToken(CANARY), entry: 'secret team-c/pull' },
      ],
    };
    const { ask } = await startAdmin(t, {
      sources: [
        { source: sourceOf('docker-config', { kind: 'none', reason: 'no entry for registry.example.com' }) },
        { name: 'cri', off: '[cri_keychain] enable_keychain is false' },
        { source: sourceOf('kubernetes-secrets', answer) },
        { source: sourceOf('credential-plugins', matched('credential-plugins', 'plugin ecr')) },
      ],
    });
    const report = await ask({ reference: 'registry.example.com/team/app:1' });
    assert.deepEqual(report, {
      reference: 'registry.example.com/team/app:1',
      host: 'registry.example.com',
      namespaces: [],
      sources: [
        { name: 'docker-config', outcome: 'none', reason: 'no entry for registry.example.com', entries: [] },
        { name: 'cri', outcome: 'off', reason: '[cri_keychain] enable_keychain is false', entries: [] },
        {
          name: 'kubernetes-secrets',
          outcome: 'matched',
          reason: '',
          entries: [
            { entry: 'secret team-a/pull', kind: 'basic', ageMs: 90_000 },
            { entry: 'secret team-b/pull', kind: 'identity_token', ageMs: 0 },
            { entry: 'secret team-c/pull', kind: 'registry_token' },
          ],
        },
        { name: 'credential-plugins', outcome: 'matched', reason: '', entries: [{ entry: 'plugin ecr', kind: 'basic' }] },
      ],
      verdict: { kind: 'credentials', source: 'kubernetes-secrets' },
    });
    assert.ok(!JSON.stringify(report).includes(CANARY));
  });

  const verdicts: readonly {
    readonly name: string;
    readonly answers: readonly (Answer | Error)[];
    readonly want: CredentialsReport['verdict'];
  }[] = [
    { name: 'anonymous where nobody has one', answers: [NONE, NONE], want: { kind: 'anonymous' } },
    { name: 'anonymous without sources', answers: [], want: { kind: 'anonymous' } },
    {
      name: 'waiting where a source is not ready, whatever the next one has',
      answers: [NONE, { kind: 'not-ready', reason: 'the first list is not complete' }, matched('s2', 'x')],
      want: { kind: 'not-ready', source: 's1' },
    },
    {
      name: 'a failure where a source failed, whatever the next one has',
      answers: [new KeychainError('HELPER_MISSING', 'docker-credential-x: not found'), matched('s1', 'x')],
      want: { kind: 'failed', source: 's0' },
    },
    {
      name: 'the first that matches, whatever a later one does',
      answers: [matched('s0', 'x'), new KeychainError('HELPER_FAILED', 'no')],
      want: { kind: 'credentials', source: 's0' },
    },
  ];
  for (const { name, answers, want } of verdicts) {
    it(`come to ${name}`, async (t) => {
      const { ask } = await startAdmin(t, { sources: answers.map((answer, i) => ({ source: sourceOf(`s${i}`, answer) })) });
      assert.deepEqual((await ask({ reference: 'alpine' })).verdict, want);
    });
  }

  it('are looked up as a pull would: Hub by the host of its requests, a mirror by its own, namespaces as known or as asked for', async (t) => {
    const asked: Lookup[] = [];
    const { ask } = await startAdmin(t, {
      sources: [{ source: sourceOf('s', NONE, asked) }],
      namespacesOf: ({ repository }) => [`of-${repository.split('/').length}`],
    });
    await ask({ reference: 'alpine' });
    await ask({ reference: 'R.example.com:5000/a/b@sha256:'.concat('0'.repeat(64)) });
    await ask({ reference: 'r.example.com/a:1', host: 'Mirror.example.com:5000', namespaces: ['team-a', 'team-b'] });
    assert.deepEqual(
      asked.map(({ host, reference, namespaces }) => [host, reference.toString(), namespaces]),
      [
        ['registry-1.docker.io', 'docker.io/library/alpine:latest', ['of-2']],
        ['r.example.com:5000', `R.example.com:5000/a/b@sha256:${'0'.repeat(64)}`, ['of-2']],
        ['mirror.example.com:5000', 'r.example.com/a:1', ['team-a', 'team-b']],
      ],
    );
  });

  it('are shown on one line and without user information of an address', async (t) => {
    const entry = `https://alice:${CANARY}/x@h@r.example.com\n\u001b[31m/v1/ in /root/.docker/config.json`;
    const { ask } = await startAdmin(t, {
      sources: [
        { source: sourceOf('a', { kind: 'none', reason: `//u:${CANARY}@r.example.com ${'x'.repeat(1_000)}` }) },
        { source: sourceOf('b', matched('b', entry)) },
      ],
    });
    const { sources } = await ask({ reference: 'r.example.com/a' });
    assert.equal(sources[1]?.entries[0]?.entry, 'https://r.example.com [31m/v1/ in /root/.docker/config.json');
    assert.equal(sources[0]?.reason.length, 501);
    assert.ok(!JSON.stringify(sources).includes(CANARY));
  });

  for (const request of [
    { reference: '' },
    { reference: 'upper/Case' },
    { reference: 'f'.repeat(64) },
    { reference: 'a', host: 'https://r.example.com' },
    { reference: 'a', host: 'u:p@r.example.com' },
    { reference: 'a', namespaces: ['a/b'] },
    { reference: 'a', namespaces: Array<string>(101).fill('a') },
  ]) {
    it(`are not looked up for ${JSON.stringify(request).slice(0, 60)}`, async (t) => {
      const { ask } = await startAdmin(t, { sources: [] });
      await assert.rejects(ask(request), { name: 'StatusError', code: 'INVALID' });
    });
  }

  it('are not waited for longer than the caller waits', async (t) => {
    const { address } = await startAdmin(t, {
      sources: [
        {
          source: {
            name: 's',
            resolve: (_, aborted) => new Promise((_resolve, reject) => aborted.addEventListener('abort', () => reject(new Error('ended')))),
          },
        },
      ],
    });
    using client = openStatus(address);
    const stop = new AbortController();
    const answer = client.credentials({ reference: 'a' }, stop.signal);
    stop.abort(new Error('enough'));
    await assert.rejects(answer, { message: 'enough' });
  });

  it('are a failure of the source where it breaks', async (t) => {
    const { ask } = await startAdmin(t, { sources: [{ source: sourceOf('s', new TypeError('broken')) }] });
    const { sources, verdict } = await ask({ reference: 'a' });
    assert.deepEqual(sources, [{ name: 's', outcome: 'failed', reason: 'broken', entries: [] }]);
    assert.deepEqual(verdict, { kind: 'failed', source: 's' });
  });
});

describe('the admin socket', () => {
  it("is its user's alone, and so is its folder", async (t) => {
    const { address } = await startAdmin(t, { sources: [] });
    assert.equal((await stat(address)).mode & 0o777, 0o600);
    assert.equal((await stat(join(address, '..'))).mode & 0o777, 0o700);
  });

  it('is not opened without an address', async () => {
    assert.equal(await serveAdmin({ address: '', log: collectLogs().log, sources: [] }), undefined);
  });

  for (const address of ['tcp://127.0.0.1:1', 'fd://', 'http://x']) {
    it(`is not ${address}`, async () => {
      await assert.rejects(serveAdmin({ address, log: collectLogs().log, sources: [] }), { code: 'ADDRESS_INVALID' });
    });
  }

  const obstacles: readonly {
    readonly name: string;
    readonly prepare: (folder: string, t: TestContext) => Promise<void>;
    readonly says: RegExp;
  }[] = [
    { name: 'others can write its folder', prepare: (folder) => chmod(folder, 0o777), says: /others can write it/ },
    {
      name: 'its folder is a link',
      prepare: async (folder) => {
        await rm(folder, { recursive: true });
        await mkdir(`${folder}.real`);
        await symlink(`${folder}.real`, folder);
      },
      says: /not a folder/,
    },
    {
      name: 'another service answers there',
      prepare: async (folder, t) => {
        const other = createServer((socket) => socket.destroy());
        await new Promise<void>((resolve) => other.listen(join(folder, 'admin.sock'), resolve));
        t.after(() => other.close());
      },
      says: /another process answers there/,
    },
  ];
  for (const { name, prepare, says } of obstacles) {
    it(`is left out with a warning where ${name}`, async (t) => {
      const folder = join(await makeTempDir(t), 'run');
      await mkdir(folder, { mode: 0o700 });
      await prepare(folder, t);
      const { log, lines } = collectLogs();
      assert.equal(await serveAdmin({ address: join(folder, 'admin.sock'), log, sources: [] }), undefined);
      assert.equal(lines.length, 1);
      assert.match(lines[0] ?? '', says);
    });
  }
});

describe('openStatus', () => {
  it('says that nobody answers', async (t) => {
    const folder = await makeTempDir(t);
    using client = openStatus(join(folder, 'none.sock'));
    await assert.rejects(
      client.credentials({ reference: 'a' }, signal),
      (error) => error instanceof StatusError && error.code === 'NOT_RUNNING' && error.message.includes(folder),
    );
  });
});
