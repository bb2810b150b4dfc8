import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Cri } from '@soci/testing';
import { criConfig, NO_BACKGROUND_FETCH } from './credential-config.ts';
import { makePlugin, pluginConfig, type CredentialPlugin } from './credential-plugin.ts';
import { secretsConfig, startKube, SYNC_USER } from './kube.ts';
import { fileOf, makeLazyImage, type LazyImage } from './lazy-image.ts';
import { readers, scratchFolder, Stack } from './stack.ts';

const PASSWORDS = { docker: 'docker-password', kubelet: 'kubelet-password', secret: 'secret-password', plugin: 'plugin-password' };

/** Pulls an image with a call of its own, reads from it in a container, and says whose credentials the snapshotter showed the registry. */
async function pullAndRead(
  stack: Stack,
  image: LazyImage,
  name: string,
  pull: (reference: string) => Promise<unknown>,
): Promise<readonly string[]> {
  const reference = await stack.push(image.layout, `${name}/app:1`);
  await pull(reference);
  const file = fileOf(image);
  const output = await stack.containerd.ctr(['run', '--rm', '--snapshotter', 'soci', reference, name, 'sha256sum', `/${file.path}`]);
  assert.equal(output.slice(0, 64), file.digest, `what ${name} reads`);
  return await readers(stack.registry, `${name}/app`);
}

describe('each source of credentials alone', () => {
  it('Docker config: the login of its user', { timeout: 120_000 }, async () => {
    await using resources = new AsyncDisposableStack();
    const image = await makeLazyImage(await scratchFolder(resources));
    await using stack = await Stack.start({ logins: PASSWORDS, dockerLogin: `docker:${PASSWORDS.docker}`, config: NO_BACKGROUND_FETCH });

    assert.deepEqual(await pullAndRead(stack, image, 'docker', (reference) => stack.pull(reference)), ['docker']);
  });

  it('CRI: the login of the kubelet’s request', { timeout: 120_000 }, async () => {
    await using resources = new AsyncDisposableStack();
    const image = await makeLazyImage(await scratchFolder(resources));
    await using stack = await Stack.start({
      logins: PASSWORDS,
      dockerLogin: null,
      config: (place) => NO_BACKGROUND_FETCH + criConfig(place),
    });
    using kubelet = new Cri(stack.snapshotter.address);
    const login = { username: 'kubelet', password: PASSWORDS.kubelet };

    assert.deepEqual(await pullAndRead(stack, image, 'cri', (reference) => kubelet.pullImage(reference, login)), ['kubelet']);
  });

  it('Kubernetes secrets: the login of the secret', { timeout: 120_000 }, async () => {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    const image = await makeLazyImage(directory);
    const kube = resources.use(await startKube(join(directory, 'kube')));
    const config = NO_BACKGROUND_FETCH + secretsConfig(kube.kubeconfig(SYNC_USER));
    await using stack = await Stack.start({ logins: PASSWORDS, dockerLogin: null, config });
    await kube.putPullSecret('default', 'pull', { [stack.proxy.host]: `secret:${PASSWORDS.secret}` });

    assert.deepEqual(await pullAndRead(stack, image, 'secrets', (reference) => stack.pull(reference)), ['secret']);
  });
});

describe('all sources of credentials at once', () => {
  it('are asked in the documented order: the first that knows one is the one that is used', {
    timeout: 240_000,
  }, async () => {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    const kube = resources.use(await startKube(join(directory, 'kube')));
    let plugin: CredentialPlugin | undefined;
    await using stack = await Stack.start({
      logins: PASSWORDS,
      dockerLogin: null,
      config: async (place) => {
        plugin = await makePlugin(directory, place.host);
        return NO_BACKGROUND_FETCH + criConfig(place) + secretsConfig(kube.kubeconfig(SYNC_USER)) + pluginConfig(plugin);
      },
    });
    using kubelet = new Cri(stack.snapshotter.address);
    const asKubelet = (reference: string) => kubelet.pullImage(reference, { username: 'kubelet', password: PASSWORDS.kubelet });
    const besideIt = (reference: string) => stack.pull(reference);
    const image = (name: string) => makeLazyImage(join(directory, name));

    // Each step gives a login to the source before the last one.
    await plugin?.setLogin({ username: 'plugin', password: PASSWORDS.plugin });
    assert.deepEqual(await pullAndRead(stack, await image('a'), 'plugin-only', besideIt), ['plugin']);
    await kube.putPullSecret('default', 'pull', { [stack.proxy.host]: `secret:${PASSWORDS.secret}` });
    assert.deepEqual(await pullAndRead(stack, await image('b'), 'secret-too', besideIt), ['secret']);
    assert.deepEqual(await pullAndRead(stack, await image('c'), 'kubelet-too', asKubelet), ['kubelet']);
    await stack.snapshotter.login({ [stack.proxy.host]: `docker:${PASSWORDS.docker}` });
    assert.deepEqual(await pullAndRead(stack, await image('d'), 'docker-too', asKubelet), ['docker']);
  });
});
