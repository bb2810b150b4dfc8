import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { KubeApi, missingKubePrograms } from '@soci/testing';

interface List {
  readonly metadata: { readonly resourceVersion: string };
  readonly items: readonly { readonly metadata: { readonly name: string } }[];
}

describe('a real API server', { skip: missingKubePrograms() ?? false }, () => {
  it('serves secrets to whom they are granted, keeps them over a restart, and begins again when told to', {
    timeout: 120_000,
  }, async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'kube-api-'));
    t.after(() => rm(directory, { recursive: true, force: true }));
    await using api = await KubeApi.start({ directory });
    const secrets = '/api/v1/secrets';
    const listed = () => api.request<List>('GET', secrets, undefined, { user: 'soci-secrets' });
    await api.createNamespace('team');
    await api.putPullSecret('team', 'pull', { 'registry.example.com': 'alice:one' });
    await api.putPullSecret('team', 'pull', { 'registry.example.com': 'alice:two' });

    assert.equal((await listed()).status, 403);
    await api.grant('soci-secrets', { resources: ['secrets'], verbs: ['list', 'watch'] });
    const first = await listed();
    await api.stop();
    await assert.rejects(listed());
    await api.startAgain();
    const second = await listed();
    await api.stop('SIGKILL');
    await api.startEmpty();
    await api.grant('soci-secrets', { resources: ['secrets'], verbs: ['list'] });
    const third = await listed();

    assert.deepEqual(
      first.body.items.map(({ metadata }) => metadata.name),
      ['pull'],
    );
    assert.deepEqual(second.body.items, first.body.items);
    assert.deepEqual(third.body.items, []);
    assert.ok(Number(third.body.metadata.resourceVersion) < Number(first.body.metadata.resourceVersion));
    await api.createServiceAccount('default', 'robot');
    const kubeconfig = await readFile(await api.serviceAccountKubeconfig('default', 'robot'), 'utf8');
    assert.match(kubeconfig, /"token":"eyJ/);
  });
});
