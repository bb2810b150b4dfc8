import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ImageReference } from '@soci/image';
import { collectLogs } from '@soci/log';
import {
  basic,
  fingerprint,
  KeychainError,
  PullSecretSource,
  type Lookup,
  type PullSecret,
  type PullSecretSourceOptions,
  type SourceChange,
} from './index.ts';

const lookup: Lookup = {
  host: 'a.example',
  reference: new ImageReference({ host: 'a.example', repository: 'team/app' }),
  namespaces: [],
};

function secret(username: string, { namespace = 'ns', name = 'pull' } = {}): PullSecret {
  const auth = Buffer.from(`${username}:pw`).toString('base64');
  return { namespace, name, type: 'kubernetes.io/dockerconfigjson', document: JSON.stringify({ auths: { 'a.example': { auth } } }) };
}

function at(namespaces: readonly string[]): Lookup {
  return { ...lookup, namespaces };
}

function subject(options: Partial<PullSecretSourceOptions> = {}): {
  source: PullSecretSource;
  changes: SourceChange[];
  lines: readonly string[];
} {
  const { log, lines } = collectLogs();
  const source = new PullSecretSource({ log, nowMs: () => 7, ...options });
  const changes: SourceChange[] = [];
  source.onChange((change) => changes.push(change));
  return { source, changes, lines };
}

async function usersOf(source: PullSecretSource, asked = lookup): Promise<readonly string[]> {
  const answer = await source.resolve(asked);
  if (answer.kind !== 'candidates') return [answer.kind];
  return answer.candidates.map(({ credential }) => (credential.kind === 'basic' ? credential.username : credential.kind));
}

describe('source of pull secrets', () => {
  it('knows nothing before it is synced, and says so once it is', async () => {
    const { source, changes } = subject();
    source.put(secret('alice'));
    assert.deepEqual(await usersOf(source), ['not-ready']);
    assert.deepEqual(changes, []);
    source.markSynced();
    source.markSynced();
    assert.deepEqual(await usersOf(source), ['alice']);
    assert.deepEqual(changes, [{ source: 'kubernetes-secrets', withdrawn: [] }]);
  });

  it('names the secret and since when, and asks by namespace, then by name', async () => {
    const { source } = subject();
    source.put(secret('third', { namespace: 'nsa' }));
    source.put(secret('second', { name: 'z' }));
    source.put(secret('first', { name: 'b' }));
    source.markSynced();
    assert.deepEqual(await usersOf(source), ['first', 'second', 'third']);
    const answer = await source.resolve(lookup);
    assert.ok(answer.kind === 'candidates');
    assert.deepEqual(answer.candidates.map(({ entry, sinceMs }) => [entry, sinceMs])[0], ['secret ns/b', 7]);
  });

  it('withdraws what a change took away, and nothing else', async () => {
    const { source, changes } = subject();
    source.markSynced();
    source.put(secret('alice'));
    source.put(secret('carol', { name: 'other' }));
    source.put(secret('alice'));
    source.put(secret('bob'));
    source.remove('ns', 'pull');
    source.remove('ns', 'never-there');
    assert.deepEqual(
      changes.map(({ withdrawn }) => withdrawn),
      [[], [], [], [fingerprint(basic('alice', 'pw'))], [fingerprint(basic('bob', 'pw'))]],
    );
    assert.deepEqual(await usersOf(source), ['carol']);
  });

  it('keeps the last good value of a secret that breaks, and says which broke without a piece of it', async () => {
    const { source, lines } = subject();
    source.markSynced();
    source.put(secret('alice'));
    source.put({ ...secret('alice'), document: '{"auths": {"a.example": {"auth": "czNjcmV0OnMzY3JldA=="' });
    source.put({ ...secret('alice'), document: undefined });
    assert.deepEqual(await usersOf(source), ['alice']);
    assert.equal(lines.length, 2);
    for (const line of lines) assert.ok(line.includes('ns/pull') && !line.includes('czNjcmV0'));
  });

  it('forgets what a list did not return, of its type and namespace only, and tells of all that as one change', async () => {
    const { source, changes } = subject();
    for (const name of ['gone', 'stays', 'changes']) source.put(secret(name, { name }));
    source.put(secret('elsewhere', { namespace: 'other' }));
    source.put({ namespace: 'ns', name: 'old', type: 'kubernetes.io/dockercfg', document: '{"a.example":{"auth":"dTpw"}}' });
    source.markSynced();
    changes.length = 0;
    {
      using list = source.beginList({ type: 'kubernetes.io/dockerconfigjson', namespace: 'ns' });
      list.put(secret('stays', { name: 'stays' }));
      list.put(secret('changed', { name: 'changes' }));
      assert.deepEqual(await usersOf(source), ['changed', 'gone', 'u', 'stays', 'elsewhere']);
      assert.deepEqual(changes, []);
      list.commit();
    }
    assert.deepEqual(await usersOf(source), ['changed', 'u', 'stays', 'elsewhere']);
    assert.deepEqual(
      changes.map(({ withdrawn }) => [...withdrawn]),
      [[fingerprint(basic('changes', 'pw')), fingerprint(basic('gone', 'pw'))]],
    );
    assert.equal(source.size, 4);
  });

  it('forgets nothing when a list ends half way, nor a broken secret that was listed', async () => {
    const { source } = subject();
    source.put(secret('alice'));
    source.put(secret('bob', { name: 'other' }));
    source.markSynced();
    {
      using list = source.beginList({ type: 'kubernetes.io/dockerconfigjson' });
      list.put(secret('alice'));
    }
    assert.deepEqual(await usersOf(source), ['bob', 'alice']);
    using list = source.beginList({ type: 'kubernetes.io/dockerconfigjson' });
    list.put({ ...secret('alice'), document: '{' });
    list.commit();
    assert.deepEqual(await usersOf(source), ['alice']);
  });

  it('keeps a secret made again with the other type, whichever watch runs ahead', async () => {
    const { source } = subject();
    source.markSynced();
    source.put(secret('old'));
    source.put({ namespace: 'ns', name: 'pull', type: 'kubernetes.io/dockercfg', document: '{"a.example":{"auth":"bmV3OnB3"}}' });
    source.put(secret('older'));
    source.remove('ns', 'pull', 'kubernetes.io/dockerconfigjson');
    assert.deepEqual(await usersOf(source), ['new']);
    source.remove('ns', 'pull');
    assert.deepEqual(await usersOf(source), ['none']);
  });

  it('uses the secrets of the namespaces that pulled an image where tenants are kept apart, and all where these are not known', async () => {
    const { source } = subject({ isolation: 'namespace' });
    for (const namespace of ['team-c', 'team-a', 'team-b']) source.put(secret(`of-${namespace}`, { namespace }));
    source.markSynced();
    assert.deepEqual(await usersOf(source, at(['team-b'])), ['of-team-b']);
    assert.deepEqual(await usersOf(source, at(['team-c', 'team-a'])), ['of-team-a', 'of-team-c']);
    assert.deepEqual(await usersOf(source, at(['team'])), ['none']);
    assert.deepEqual(await usersOf(source), ['of-team-a', 'of-team-b', 'of-team-c']);
    const node = subject();
    node.source.put(secret('alice'));
    node.source.markSynced();
    assert.deepEqual(await usersOf(node.source, at(['team-b'])), ['alice']);
  });

  it('gives a login once however many secrets have it, and five at most', async () => {
    const { source } = subject();
    for (let i = 0; i < 20; i++) source.put(secret(`user-${i % 7}`, { name: `n${String(i).padStart(2, '0')}` }));
    source.markSynced();
    assert.deepEqual(await usersOf(source), ['user-0', 'user-1', 'user-2', 'user-3', 'user-4']);
  });

  it('stands aside when the first list takes too long, says so once and why, and goes by what it has', async () => {
    let monotonicMs = 0;
    const { source, lines, changes } = subject({ monotonicMs: () => monotonicMs });
    source.reportProblem('the API server forbids list');
    monotonicMs = 59_999;
    assert.deepEqual(await source.resolve(lookup), {
      kind: 'not-ready',
      reason: 'kubernetes-secrets: the first list is not complete: the API server forbids list',
    });
    monotonicMs = 60_000;
    const late = { kind: 'none', reason: 'no complete list within 60 s: the API server forbids list' };
    assert.deepEqual([await source.resolve(lookup), await source.resolve(lookup)], [late, late]);
    assert.equal(lines.length, 1);
    source.put(secret('alice'));
    assert.deepEqual(await usersOf(source), ['alice']);
    source.markSynced();
    assert.deepEqual(changes, [{ source: 'kubernetes-secrets', withdrawn: [] }]);
  });

  it('has nothing while it is off, fails while what it would follow is not to be trusted, and forgets another cluster', async () => {
    let monotonicMs = 0;
    const { source, changes } = subject({ monotonicMs: () => monotonicMs });
    source.setOff('no kubeconfig');
    assert.deepEqual(await source.resolve(lookup), { kind: 'none', reason: 'no kubeconfig' });
    monotonicMs = 70_000;
    source.setOff(undefined);
    assert.deepEqual(await usersOf(source), ['not-ready']);
    source.put(secret('alice'));
    source.markSynced();
    source.setFailed(new KeychainError('SOURCE_UNTRUSTED', 'writable by others'));
    await assert.rejects(source.resolve(lookup), { code: 'SOURCE_UNTRUSTED' });
    source.setFailed(undefined);
    assert.deepEqual(await usersOf(source), ['alice']);
    changes.length = 0;
    source.reset();
    assert.deepEqual(await usersOf(source), ['not-ready']);
    assert.deepEqual(changes, [{ source: 'kubernetes-secrets', withdrawn: [fingerprint(basic('alice', 'pw'))] }]);
    assert.ok(!source.isSynced && source.size === 0);
  });

  it("never runs a helper that a secret names, nor takes more of a tenant's document than it should", async () => {
    const { source, lines } = subject();
    source.markSynced();
    source.put({ ...secret('x'), document: JSON.stringify({ credsStore: 'x', credHelpers: { 'a.example': 'x' }, auths: {} }) });
    assert.deepEqual(await usersOf(source), ['none']);
    const auths = Object.fromEntries(Array.from({ length: 1_001 }, (_, i) => [`h${i}.example`, { auth: 'dTpw' }]));
    source.put({ ...secret('x'), document: JSON.stringify({ auths: { ...auths, 'a.example': { auth: 'dTpw' } } }) });
    assert.deepEqual(await usersOf(source), ['none']);
    assert.match(lines.join(), /too many entries/);
  });

  it('gives the key of another path, and a star, to nobody they are not for', async () => {
    const { source } = subject();
    const auth = 'dTpw';
    source.put({
      ...secret('x'),
      document: JSON.stringify({ auths: { '*': { auth }, 'a.example/other': { auth }, ['__proto__']: { auth } } }),
    });
    source.markSynced();
    assert.deepEqual(await usersOf(source), ['none']);
    assert.deepEqual(await usersOf(source, { ...lookup, host: 'constructor' }), ['u']);
    assert.deepEqual(await usersOf(source, { ...lookup, host: '__proto__' }), ['u']);
  });

  it('is not ready for as long as it says, wherever the wall clock is set to meanwhile', async () => {
    let nowMs = 0;
    const { source } = subject({ nowMs: () => nowMs });
    nowMs = 86_400_000;
    assert.deepEqual(await usersOf(source), ['not-ready']);
  });

  it('tells of which registries a change is, all names of Docker Hub for one, any where a key is a pattern', () => {
    const { source, changes } = subject();
    source.markSynced();
    changes.length = 0;
    const put = (name: string, ...keys: readonly string[]): void => {
      const auths = Object.fromEntries(keys.map((key) => [key, { auth: 'dTpw' }]));
      source.put({ ...secret('x', { name }), document: JSON.stringify({ auths }) });
    };
    put('a', 'https://a.example/v1/', 'a.example:5000/team', '[::1]:5000');
    put('a', 'b.example');
    put('hub', 'docker.io');
    put('pattern', '*.example');
    put('pattern');
    put('many', ...Array.from({ length: 65 }, (_, i) => `h${i}.example`));
    assert.deepEqual(
      changes.map(({ hosts }) => hosts),
      [
        ['a.example', 'a.example:5000', '[::1]:5000'],
        ['a.example', 'a.example:5000', '[::1]:5000', 'b.example'],
        ['index.docker.io', 'docker.io', 'registry-1.docker.io'],
        undefined,
        undefined,
        undefined,
      ],
    );
    changes.length = 0;
    {
      using list = source.beginList({ type: 'kubernetes.io/dockerconfigjson' });
      list.put({ ...secret('x', { name: 'a' }), document: '{"auths":{"c.example":{"auth":"dTpw"}}}' });
      list.put({ ...secret('x', { name: 'hub' }), document: '{"auths":{"d.example":{"auth":"dTpw"}}}' });
    }
    assert.deepEqual(
      changes.map(({ hosts }) => hosts),
      [['b.example', 'c.example', 'index.docker.io', 'docker.io', 'registry-1.docker.io', 'd.example']],
    );
  });

  it('calls nobody back who has had enough', () => {
    const { source } = subject();
    const seen: SourceChange[] = [];
    source.onChange((change) => seen.push(change))[Symbol.dispose]();
    source.markSynced();
    assert.deepEqual(seen, []);
  });
});
