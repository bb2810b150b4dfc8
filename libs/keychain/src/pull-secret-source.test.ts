import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ImageReference } from '@soci/image';
import { collectLogs } from '@soci/log';
import { basic, fingerprint, PullSecretSource, type Lookup, type PullSecret, type SourceChange } from './index.ts';

const lookup: Lookup = {
  host: 'a.example',
  reference: new ImageReference({ host: 'a.example', repository: 'team/app' }),
  namespaces: [],
};

function secret(username: string, { namespace = 'ns', name = 'pull' } = {}): PullSecret {
  const auth = Buffer.from(`${username}:pw`).toString('base64');
  return { namespace, name, type: 'kubernetes.io/dockerconfigjson', document: JSON.stringify({ auths: { 'a.example': { auth } } }) };
}

function subject(): { source: PullSecretSource; changes: SourceChange[]; lines: readonly string[] } {
  const { log, lines } = collectLogs();
  const source = new PullSecretSource({ log, nowMs: () => 7 });
  const changes: SourceChange[] = [];
  source.onChange((change) => changes.push(change));
  return { source, changes, lines };
}

async function usersOf(source: PullSecretSource): Promise<readonly string[]> {
  const answer = await source.resolve(lookup);
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
      [[], [], [], [], [fingerprint(basic('alice', 'pw'))], [fingerprint(basic('bob', 'pw'))]],
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

  it('calls nobody back who has had enough', () => {
    const { source } = subject();
    const seen: SourceChange[] = [];
    source.onChange((change) => seen.push(change))[Symbol.dispose]();
    source.markSynced();
    assert.deepEqual(seen, []);
  });
});
