import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { waitFor } from '@soci/testing';
import { SYNC_USER } from './kube.ts';
import { SecretsStack } from './secrets-stack.ts';
import { LOGIN, readers } from './stack.ts';

const FIRST = { username: 'first', password: 'first-password' };
const SECOND = { username: 'second', password: 'second-password' };
const LOGINS = { [FIRST.username]: FIRST.password, [SECOND.username]: SECOND.password };
const RECOVERY_MS = 5_000;
const LIST_AND_WATCH = { resources: ['secrets'], verbs: ['list', 'watch'] };
const DENIED = 'a right is missing in the kubernetes api';

function login({ username, password }: typeof FIRST): string {
  return `${username}:${password}`;
}

describe('the Kubernetes API', () => {
  it('away when the snapshotter starts: an image waits for it, and is lazy when it comes; away later: what is known goes on to serve; back without a past: followed anew', {
    timeout: 240_000,
  }, async () => {
    await using node = await SecretsStack.start(LOGINS, async (kube, host) => {
      await kube.putPullSecret('default', 'pull', { [host]: login(FIRST) });
      await kube.stop();
    });
    const { kube, stack } = node;

    const [image] = await Promise.all([node.pullNew(3), kube.startAgain()]);
    assert.ok(image.isLazy);
    assert.deepEqual(image.readers, ['first']);

    await kube.stop('SIGKILL');
    await node.read(image, 0);
    await node.read(image, 1);
    assert.deepEqual((await node.pullNew()).readers, ['first'], 'what was known still is');

    await kube.startEmpty();
    await kube.grant(SYNC_USER, LIST_AND_WATCH);
    await kube.createNamespace('pulls');
    await stack.registry.setLogins({ [LOGIN.username]: LOGIN.password, [SECOND.username]: SECOND.password });
    await node.read(image, 0);
    const begin = performance.now();
    await Promise.all([node.read(image, 2), kube.putPullSecret('pulls', 'new', { [node.host]: login(SECOND) })]);
    assert.ok(performance.now() - begin < RECOVERY_MS + READ_MS, `a read waited ${performance.now() - begin} ms`);
    assert.deepEqual(await readers(stack.registry, 'image-0/app'), ['first', 'second']);
  });
});

/** What a container takes to start and to end. */
const READ_MS = 2_000;

describe('a pull secret', () => {
  it('that is broken stays what it was; removed it is gone; elsewhere it counts again', { timeout: 240_000 }, async () => {
    await using node = await SecretsStack.start(LOGINS, (kube, host) => kube.putPullSecret('default', 'pull', { [host]: login(FIRST) }));
    const { kube } = node;
    const secrets = '/api/v1/namespaces/default/secrets';
    await node.pullNew();

    const broken = { '.dockerconfigjson': Buffer.from('{"auths":7}').toString('base64') };
    const type = 'kubernetes.io/dockerconfigjson';
    const put = await kube.request('PUT', `${secrets}/pull`, { metadata: { name: 'pull' }, type, data: broken });
    assert.equal(put.status, 200);
    await waitFor(async () => (await node.logged('default/pull')).length > 0, {
      timeoutMs: RECOVERY_MS,
      what: 'the broken secret to be named',
    });
    assert.deepEqual((await node.pullNew()).readers, ['first']);

    await kube.request('DELETE', `${secrets}/pull`);
    await waitFor(async () => !(await node.pullNew()).isLazy, { timeoutMs: RECOVERY_MS, what: 'an image without credentials' });

    await kube.createNamespace('elsewhere');
    await kube.putPullSecret('elsewhere', 'moved', { [node.host]: login(SECOND) });
    await waitFor(async () => (await node.pullNew()).isLazy, { timeoutMs: RECOVERY_MS, what: 'a lazy image again' });
  });
});

describe('rights that are missing', () => {
  for (const [missing, verbs] of [
    ['list', ['watch']],
    ['watch', ['list']],
  ] as const) {
    it(`without ${missing}: it is named once, and ${missing === 'watch' ? 'secrets are listed from time to time' : 'images are pulled plainly'}`, {
      timeout: 120_000,
    }, async () => {
      await using node = await SecretsStack.start(LOGINS, async (kube, host) => {
        await kube.putPullSecret('default', 'pull', { [host]: login(FIRST) });
        await kube.grant(SYNC_USER, { resources: ['secrets'], verbs });
      });

      const image = await node.pullNew();

      assert.equal(image.isLazy, missing === 'watch');
      const told = await node.logged(DENIED);
      assert.equal(told.length, 1, told.join('\n'));
      assert.match(told[0] ?? '', new RegExp(`"verb":"${missing}"`));
    });
  }
});
