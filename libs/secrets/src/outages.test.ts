import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { KubeApi, KubeStandIn, missingKubePrograms } from '@soci/testing';
import type { SyncTimings } from './timings.ts';
import { Relay } from './testing/relay.ts';
import { kubeconfigFor, Subject } from './testing/subject.ts';

type Api = KubeApi | KubeStandIn;

const FOLLOWER = 'follower';
const users = [FOLLOWER];
const servers = [
  { name: 'stand-in', skip: undefined, start: (directory: string): Promise<Api> => KubeStandIn.start({ directory, users }) },
  { name: 'kube-apiserver', skip: missingKubePrograms(), start: (directory: string): Promise<Api> => KubeApi.start({ directory, users }) },
];
/** Long enough for the waiting times to have reached their limit. */
const OUTAGE_MS = 6_000;
const RECOVERY_MS = 5_000;
/** In which the watches are there after the lists are. */
const WATCHES_MS = 300;

/** At once: a real one would first wait for its watches to end. */
async function kill(api: Api): Promise<void> {
  await (api instanceof KubeApi ? api.stop('SIGKILL') : api.stop());
}

for (const { name, skip, start } of servers) {
  describe(`pull secrets while an API server fails (${name})`, { skip: skip ?? false, timeout: 180_000 }, () => {
    let directory: string;
    let api: Api;
    let relay: Relay;

    const prepare = async (): Promise<void> => {
      await api.grant(FOLLOWER, { resources: ['secrets'], verbs: ['list', 'watch'] });
      await api.createNamespace('team');
      await api.putPullSecret('team', 'pull', { 'r.example': 'alice:pw' });
    };
    const follow = async (timings: Partial<SyncTimings> = {}): Promise<Subject> => {
      return new Subject({ kubeconfigPath: await kubeconfigFor(directory, api.kubeconfig(FOLLOWER), relay.url), timings });
    };
    const remove = (secret: string): Promise<unknown> => api.expect('DELETE', `/api/v1/namespaces/team/secrets/${secret}`);

    before(async () => {
      directory = await mkdtemp(join(tmpdir(), 'soci-secrets-'));
      api = await start(directory);
      await prepare();
    });
    after(async () => {
      await api[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    });
    beforeEach(async () => {
      relay = await Relay.start(api.url);
      await api.putPullSecret('team', 'pull', { 'r.example': 'alice:pw' });
    });
    afterEach(async () => {
      await relay[Symbol.asyncDispose]();
    });

    it('is not ready while the server is away at the start, and syncs when it comes', async () => {
      await relay.goAway();
      await using subject = await follow();
      await setTimeout(OUTAGE_MS);
      const { kind, reason } = await subject.answer('r.example');
      assert.equal(kind, 'not-ready');
      assert.match(reason ?? '', /ECONNREFUSED/);
      assert.equal(subject.logged('cannot be followed'), 1);
      await relay.comeBack();
      await subject.expects('r.example', ['alice'], RECOVERY_MS);
      assert.equal(subject.logged('works again'), 1);
    });

    it('goes on with what it has while the server is away, and sees all that happened', async () => {
      await using subject = await follow();
      await api.putPullSecret('team', 'gone', { 'gone.example': 'alice:pw' });
      await subject.expects('gone.example', ['alice']);
      await relay.goAway();
      await remove('gone');
      await api.putPullSecret('team', 'pull', { 'r.example': 'bob:pw' });
      await setTimeout(OUTAGE_MS);
      assert.deepEqual(await subject.users('r.example'), ['alice']);
      assert.equal(subject.sync.state.kind, 'synced');
      assert.match(subject.sync.state.problem ?? '', /no answer/);
      await relay.comeBack();
      await subject.expects('r.example', ['bob'], RECOVERY_MS);
      await subject.expects('gone.example', 'none', RECOVERY_MS);
      assert.equal(subject.logged('cannot be followed'), 1);
      await subject.counts('soci_secrets_relists_total{reason="outage"}', 2);
    });

    it('goes on after a cut as if nothing had been, without another list', async () => {
      await using subject = await follow();
      await subject.expects('r.example', ['alice']);
      await setTimeout(WATCHES_MS);
      relay.cut();
      await api.putPullSecret('team', 'pull', { 'r.example': 'bob:pw' });
      await subject.expects('r.example', ['bob'], RECOVERY_MS);
      assert.equal(await subject.count('soci_secrets_lists_total'), 2);
      assert.equal(subject.logged('cannot be followed'), 0);
    });

    it('lists again where its version is too old', async () => {
      await using subject = await follow();
      await subject.expects('r.example', ['alice']);
      await setTimeout(WATCHES_MS);
      relay.hold();
      await api.putPullSecret('team', 'pull', { 'r.example': 'bob:pw' });
      for (let i = 0; i < 3; i++) await api.createNamespace(`unrelated-${i}`);
      await kill(api);
      await api.startAgain();
      relay.release();
      relay.cut();
      await subject.expects('r.example', ['bob'], RECOVERY_MS);
      await subject.counts('soci_secrets_relists_total{reason="gone"}', 1);
      assert.equal(subject.logged('cannot be followed'), 0);
    });

    it('finds out that a connection carries nothing more', async () => {
      await using subject = await follow({ watchMs: 1_000, slackMs: 1_000 });
      await subject.expects('r.example', ['alice']);
      await setTimeout(WATCHES_MS);
      relay.hold();
      await setTimeout(1_000);
      relay.release(); // new connections work, those there stay silent
      await api.putPullSecret('team', 'pull', { 'r.example': 'bob:pw' });
      await subject.expects('r.example', ['bob'], RECOVERY_MS);
    });

    it('sees what a server has that comes back with another history and other versions', async () => {
      await using subject = await follow();
      for (let i = 0; i < 5; i++) await api.putPullSecret('team', `old-${i}`, { 'old.example': `user-${i}:pw` });
      await subject.expects(
        'old.example',
        Array.from({ length: 5 }, (_, i) => `user-${i}`),
      );
      await kill(api);
      await setTimeout(1_000); // a real one is never back sooner
      await api.startEmpty();
      await prepare();
      await api.putPullSecret('team', 'pull', { 'r.example': 'carol:pw' });
      await subject.expects('r.example', ['carol'], RECOVERY_MS);
      await subject.expects('old.example', 'none', RECOVERY_MS);
      await api.putPullSecret('team', 'pull', { 'r.example': 'dora:pw' });
      await subject.expects('r.example', ['dora']);
    });
  });
}
