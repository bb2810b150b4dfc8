import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { KubeApi, KubeStandIn, missingKubePrograms } from '@soci/testing';
import { kubeconfigFor, Subject } from './testing/subject.ts';

type Api = KubeApi | KubeStandIn;

const FOLLOWER = 'follower';
const LISTER = 'lister';
const NEWCOMER = 'newcomer';
const TEAM = 'team';
const users = [FOLLOWER, LISTER, NEWCOMER, TEAM];
const servers = [
  { name: 'stand-in', skip: undefined, start: (directory: string): Promise<Api> => KubeStandIn.start({ directory, users }) },
  { name: 'kube-apiserver', skip: missingKubePrograms(), start: (directory: string): Promise<Api> => KubeApi.start({ directory, users }) },
];
const JSON_TYPE = 'kubernetes.io/dockerconfigjson';
const CFG_TYPE = 'kubernetes.io/dockercfg';
const RELIST_MS = 400;
const secrets = { resources: ['secrets'], verbs: ['list', 'watch'] };

function dataOf(member: string, document: unknown): Record<string, string> {
  return { [member]: Buffer.from(JSON.stringify(document)).toString('base64') };
}

function auths(host: string, user: string): unknown {
  return { [host]: { auth: Buffer.from(`${user}:pw`).toString('base64') } };
}

for (const { name, skip, start } of servers) {
  describe(`pull secrets of a cluster (${name})`, { skip: skip ?? false, timeout: 180_000 }, () => {
    let directory: string;
    let api: Api;

    before(async () => {
      directory = await mkdtemp(join(tmpdir(), 'soci-secrets-'));
      api = await start(directory);
      await api.grant(FOLLOWER, secrets);
      for (const namespace of ['a', 'b', 'many']) await api.createNamespace(namespace);
    });
    after(async () => {
      await api[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    });

    const follow = (namespaces: readonly string[] = []): Subject => new Subject({ kubeconfigPath: api.kubeconfig(FOLLOWER), namespaces });
    const path = (namespace: string, secret = ''): string => `/api/v1/namespaces/${namespace}/secrets${secret === '' ? '' : `/${secret}`}`;

    it('lists page by page, of all namespaces, both types and no others', async () => {
      const numbers = Array.from({ length: 530 }, (_, i) => i);
      const lanes = Array.from({ length: 8 }, async () => {
        for (let i = numbers.pop(); i !== undefined; i = numbers.pop()) {
          const data = dataOf('.dockerconfigjson', { auths: auths(`r${i}.many`, `u${i}`) });
          await api.expect('POST', path('many'), { metadata: { name: `s${i}` }, type: JSON_TYPE, data });
        }
      });
      await Promise.all(lanes);
      await api.putPullSecret('b', 'pull', { 'first.example': 'bob:pw' });
      await api.putPullSecret('a', 'pull', { 'first.example': 'alice:pw' });
      await api.expect('POST', path('a'), {
        metadata: { name: 'old' },
        type: CFG_TYPE,
        data: dataOf('.dockercfg', auths('first.example', 'olga')),
      });
      await api.expect('POST', path('a'), {
        metadata: { name: 'opaque' },
        type: 'Opaque',
        data: dataOf('.dockerconfigjson', { auths: auths('first.example', 'eve') }),
      });
      await using subject = follow();
      assert.equal(await subject.users('first.example'), 'not-ready');
      await subject.expects('first.example', ['olga', 'alice', 'bob']);
      assert.deepEqual(await subject.users('r529.many'), ['u529']);
      assert.deepEqual(await subject.users('r0.many'), ['u0']);
      assert.equal(await subject.users('other.example'), 'none');
      const { kind, secrets: held, origin, server, problem } = subject.sync.state;
      assert.deepEqual(
        { kind, held, origin, server, problem },
        { kind: 'synced', held: 533, origin: api.kubeconfig(FOLLOWER), server: api.url, problem: undefined },
      );
      assert.equal(await subject.count('soci_secrets_held'), 533);
      assert.equal(
        subject.lines.some((line) => line.includes('pw')),
        false,
      );
    });

    it('follows what is added, changed, removed, and made again with the other type', async () => {
      await using subject = follow(['a']);
      await subject.expects('second.example', 'none');
      await api.putPullSecret('a', 'second', { 'second.example': 'alice:pw' });
      await subject.expects('second.example', ['alice']);
      await api.putPullSecret('a', 'second', { 'second.example': 'bob:pw' });
      await subject.expects('second.example', ['bob']);
      await api.expect('DELETE', path('a', 'second'));
      await api.expect('POST', path('a'), {
        metadata: { name: 'second' },
        type: CFG_TYPE,
        data: dataOf('.dockercfg', auths('second.example', 'carol')),
      });
      await subject.expects('second.example', ['carol']);
      await api.expect('DELETE', path('a', 'second'));
      await subject.expects('second.example', 'none');
      assert.equal(await subject.count('soci_secrets_events_total{kind="deleted"}'), 2);
    });

    it('keeps the last good value of a secret that breaks', async () => {
      await using subject = follow(['a']);
      await api.putPullSecret('a', 'third', { 'third.example': 'alice:pw' });
      await subject.expects('third.example', ['alice']);
      await api.expect('PUT', path('a', 'third'), {
        metadata: { name: 'third' },
        type: JSON_TYPE,
        data: dataOf('.dockerconfigjson', { auths: ['c2VjcmV0'] }),
      });
      await api.putPullSecret('a', 'third-after', { 'third-after.example': 'alice:pw' });
      await subject.expects('third-after.example', ['alice']);
      assert.deepEqual(await subject.users('third.example'), ['alice']);
      assert.equal(subject.logged('a/third'), 1);
      assert.equal(subject.logged('c2VjcmV0'), 0);
      await api.putPullSecret('a', 'third', { 'third.example': 'bob:pw' });
      await subject.expects('third.example', ['bob']);
    });

    it('follows the configured namespaces alone, each once', async () => {
      await api.grant(TEAM, { ...secrets, namespace: 'b' });
      await api.putPullSecret('a', 'fourth', { 'fourth.example': 'alice:pw' });
      await api.putPullSecret('b', 'fourth', { 'fourth.example': 'bob:pw' });
      await using subject = new Subject({ kubeconfigPath: api.kubeconfig(TEAM), namespaces: ['b', 'b'] });
      await subject.expects('fourth.example', ['bob']);
      assert.equal(await subject.count('soci_secrets_lists_total'), 2);
    });

    it('gives what it may read after a while, and names the right that is missing once', async () => {
      await api.putPullSecret('b', 'fifth', { 'fifth.example': 'bob:pw' });
      await using subject = new Subject({ kubeconfigPath: api.kubeconfig(TEAM), namespaces: ['a', 'b'], firstSyncTimeoutMs: 1_500 });
      assert.equal(await subject.users('fifth.example'), 'not-ready');
      await subject.expects('fifth.example', ['bob']);
      const { kind, reason } = await subject.answer('other.example');
      assert.equal(kind, 'none');
      assert.match(reason ?? '', /may not list secrets in namespace a/);
      await subject.counts('soci_secrets_errors_total{code="DENIED"}', 4);
      assert.equal(subject.logged('a right is missing'), 1);
      assert.ok(subject.lines.some((line) => line.includes('"verb":"list"') && line.includes('"place":"namespace a"')));
      assert.equal(subject.sync.state.kind, 'syncing');
    });

    it('is not ready without the right to list, and syncs when it is given', async () => {
      await using subject = new Subject({ kubeconfigPath: api.kubeconfig(NEWCOMER), namespaces: [], timings: { deniedMaxMs: 2_000 } });
      await subject.counts('soci_secrets_errors_total{code="DENIED"}', 3);
      const { kind, reason } = await subject.answer('first.example');
      assert.equal(kind, 'not-ready');
      assert.match(reason ?? '', /may not list secrets in all namespaces/);
      await api.grant(NEWCOMER, secrets);
      await subject.expects('first.example', ['olga', 'alice', 'bob']);
      assert.equal(subject.logged('a right is missing'), 1);
      assert.equal(subject.logged('works again'), 1);
      assert.equal(subject.sync.state.problem, undefined);
    });

    it('lists again and again without the right to watch, and names it once', async () => {
      await api.grant(LISTER, { ...secrets, verbs: ['list'] });
      await using subject = new Subject({ kubeconfigPath: api.kubeconfig(LISTER), namespaces: [], timings: { relistMs: RELIST_MS } });
      await subject.expects('sixth.example', 'none');
      await api.putPullSecret('a', 'sixth', { 'sixth.example': 'alice:pw' });
      await subject.expects('sixth.example', ['alice']);
      await api.expect('DELETE', path('a', 'sixth'));
      await subject.expects('sixth.example', 'none');
      await subject.counts('soci_secrets_relists_total{reason="unwatched"}', 6);
      assert.equal(subject.logged('a right is missing'), 1);
      assert.match(subject.sync.state.problem ?? '', /may not watch secrets in all namespaces/);
      assert.equal(subject.sync.state.kind, 'synced');
    });

    it('goes on from a bookmark after a watch has ended', async () => {
      // A real server sends one about every minute, and one shortly before the end of a watch that lasts for more than some seconds.
      await using subject = new Subject({ kubeconfigPath: api.kubeconfig(FOLLOWER), namespaces: ['b'], timings: { watchMs: 9_000 } });
      await subject.expects('seventh.example', 'none');
      await api.putPullSecret('b', 'seventh', { 'seventh.example': 'bob:pw' });
      await subject.expects('seventh.example', ['bob']);
      for (let i = 0; i < 5; i++) await api.createNamespace(`unrelated-${i}`);
      await subject.counts('soci_secrets_events_total{kind="bookmark"}', 2, 20_000);
      if (api instanceof KubeStandIn) api.compact();
      await setTimeout(2_500); // until the watches with which they came have ended
      await api.putPullSecret('b', 'seventh', { 'seventh.example': 'carol:pw' });
      await subject.expects('seventh.example', ['carol']);
      for (const reason of ['gone', 'outage', 'broken'])
        assert.equal(await subject.count(`soci_secrets_relists_total{reason="${reason}"}`), 0);
    });

    it('reads a rotated token file with the next request', async () => {
      const tokenFile = join(directory, 'token');
      await writeFile(tokenFile, 'not-valid\n', { mode: 0o600 });
      const edit = (text: string): string => {
        const config = JSON.parse(text) as { users: [{ user: unknown }] };
        config.users[0].user = { tokenFile: 'token' };
        return JSON.stringify(config);
      };
      const kubeconfig = await kubeconfigFor(directory, api.kubeconfig(FOLLOWER), api.url, edit);
      await using subject = new Subject({ kubeconfigPath: kubeconfig });
      await subject.counts('soci_secrets_errors_total{code="UNAUTHORIZED"}', 2);
      assert.equal(await subject.users('first.example'), 'not-ready');
      await writeFile(`${tokenFile}.new`, `${api.token(FOLLOWER)}\n`, { mode: 0o600 });
      await rename(`${tokenFile}.new`, tokenFile);
      await subject.expects('first.example', ['olga', 'alice', 'bob']);
    });

    it('follows with a kubeconfig that appears, and with the next one that takes its place', async () => {
      const kubeconfig = join(directory, 'later.kubeconfig');
      await using subject = new Subject({ kubeconfigPath: kubeconfig });
      await subject.expects('first.example', 'none');
      assert.match((await subject.answer('first.example')).reason ?? '', /later\.kubeconfig not found/);
      assert.equal(subject.sync.state.kind, 'off');
      await rename(await kubeconfigFor(directory, api.kubeconfig(TEAM), api.url), kubeconfig);
      await subject.expects('first.example', 'not-ready'); // this user may not list all
      await rename(await kubeconfigFor(directory, api.kubeconfig(FOLLOWER), api.url), kubeconfig);
      await subject.expects('first.example', ['olga', 'alice', 'bob']);
      await rename(await kubeconfigFor(directory, api.kubeconfig(FOLLOWER), api.url, () => 'clusters: ['), kubeconfig);
      await subject.expects('first.example', ['olga', 'alice', 'bob']);
      await rm(kubeconfig);
      await api.putPullSecret('a', 'eighth', { 'eighth.example': 'alice:pw' });
      await subject.expects('eighth.example', ['alice']);
      assert.equal(subject.logged(api.token(FOLLOWER)), 0);
    });
  });
}
