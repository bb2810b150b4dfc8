import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseReference } from '@soci/image';
import { FaultProxy, KubeApi, Kubelet, missingKubePrograms, Registry } from '@soci/testing';
import { pushLayout } from '../../image/push.ts';
import { criConfig, NO_BACKGROUND_FETCH } from '../credential-config.ts';
import { makePlugin } from '../credential-plugin.ts';
import { secretsConfig, SYNC_USER } from '../kube.ts';
import { fileOf, makeLazyImage } from '../lazy-image.ts';
import { lazyLayers } from '../mounts.ts';
import { makeSmallImage } from '../small-image.ts';
import { CONTAINERDS, LOGIN, readers, scratchFolder, Stack, type Place } from '../stack.ts';
import { runPod, type PodOptions } from './pods.ts';

const NODE = 'node-1';
const LOGINS = { pod: 'pod-password', account: 'account-password', provider: 'provider-password', synced: 'synced-password' };
const MISSING = missingKubePrograms(['etcd', 'kube-apiserver', 'kubelet']);

/** A node with all that runs on one: API server, snapshotter, containerd and kubelet. */
class PodNode implements AsyncDisposable {
  readonly api: KubeApi;
  readonly stack: Stack;
  /** The registry under another name, for which the kubelet has a credential provider plugin. */
  readonly providerHost: string;
  readonly #directory: string;
  readonly #resources: AsyncDisposableStack;

  private constructor(api: KubeApi, stack: Stack, providerHost: string, directory: string, resources: AsyncDisposableStack) {
    this.api = api;
    this.stack = stack;
    this.providerHost = providerHost;
    this.#directory = directory;
    this.#resources = resources;
  }

  static async start(options: {
    readonly binaries?: string;
    readonly config: (place: Place, api: KubeApi) => string;
    /** The snapshotter's socket or containerd's. */
    readonly imageService: 'snapshotter' | 'containerd';
  }): Promise<PodNode> {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    const api = resources.use(await KubeApi.start({ directory: join(directory, 'kube'), users: [SYNC_USER], nodes: [NODE] }));
    await api.grant(SYNC_USER, { resources: ['secrets'], verbs: ['list', 'watch'] });
    await api.createServiceAccount('default', 'default');
    const open = resources.use(await Registry.start({ directory: join(directory, 'open') }));
    const sandboxImage = `${open.host}/pause:1`;
    const pause = await makeSmallImage(join(directory, 'pause'), [], ['/bin/sleep', '2147483647']);
    await pushLayout(pause, parseReference(sandboxImage), LOGIN);
    const stack = resources.use(
      await Stack.start({
        logins: LOGINS,
        dockerLogin: null,
        sandboxImage,
        config: (place) => NO_BACKGROUND_FETCH + options.config(place, api),
        ...(options.binaries === undefined ? {} : { binaries: options.binaries }),
      }),
    );
    const provider = resources.use(await FaultProxy.start(stack.registry.host));
    const plugin = await makePlugin(directory, provider.host);
    await plugin.setLogin({ username: 'provider', password: LOGINS.provider });
    const flags = [`--image-credential-provider-config=${plugin.configPath}`, `--image-credential-provider-bin-dir=${plugin.binDir}`];
    resources.use(
      await Kubelet.start({
        directory: join(directory, 'kubelet'),
        api,
        name: NODE,
        runtimeAddress: stack.containerd.address,
        imageServiceAddress: options.imageService === 'snapshotter' ? stack.snapshotter.address : stack.containerd.address,
        flags,
      }),
    );
    return new PodNode(api, stack, provider.host, directory, resources.move());
  }

  /** Runs a pod of a private image that was never there. @returns whose credentials the snapshotter was let in with */
  async run(
    name: string,
    options: Pick<PodOptions, 'serviceAccount' | 'imagePullSecrets'>,
    host = this.stack.proxy.host,
  ): Promise<readonly string[]> {
    const image = await makeLazyImage(join(this.#directory, name));
    await this.stack.push(image.layout, `${name}/app:1`);
    const before = await lazyLayers(this.stack.directory);
    const { path, digest } = fileOf(image);
    await runPod(this.api, {
      namespace: 'default',
      name,
      node: NODE,
      image: `${host}/${name}/app:1`,
      command: ['/bin/sh', '-c', `sum=$(sha256sum /${path}) && [ "\${sum%% *}" = ${digest} ]`],
      ...options,
    });
    assert.ok((await lazyLayers(this.stack.directory)) > before, `the image of ${name} is mounted before it is there`);
    return await readers(this.stack.registry, `${name}/app`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

describe('pods of private images on a real kubelet', { skip: MISSING ?? false }, () => {
  for (const { name, ...containerd } of CONTAINERDS) {
    it(`with ${name}, its image service the snapshotter: secrets of the pod, of its account, a credential provider`, {
      timeout: 300_000,
    }, async () => {
      await using node = await PodNode.start({ ...containerd, config: criConfig, imageService: 'snapshotter' });
      const { host } = node.stack.proxy;
      await node.api.putPullSecret('default', 'of-pod', { [host]: `pod:${LOGINS.pod}` });
      await node.api.putPullSecret('default', 'of-account', { [host]: `account:${LOGINS.account}` });
      await node.api.createServiceAccount('default', 'robot', ['of-account']);

      assert.deepEqual(await node.run('of-pod', { imagePullSecrets: ['of-pod'] }), ['pod']);
      assert.deepEqual(await node.run('of-account', { serviceAccount: 'robot' }), ['account']);
      assert.deepEqual(await node.run('of-provider', {}, node.providerHost), ['provider']);
    });

    it(`with ${name}, its image service containerd: the snapshotter reads secrets of its own`, { timeout: 300_000 }, async () => {
      const config = (_place: Place, api: KubeApi): string => secretsConfig(api.kubeconfig(SYNC_USER));
      await using node = await PodNode.start({ ...containerd, config, imageService: 'containerd' });
      const { host } = node.stack.proxy;
      await node.api.createNamespace('a-first');
      await node.api.putPullSecret('a-first', 'synced', { [host]: `synced:${LOGINS.synced}` });
      await node.api.putPullSecret('default', 'of-pod', { [host]: `pod:${LOGINS.pod}` });

      assert.deepEqual(await node.run('synced', { imagePullSecrets: ['of-pod'] }), ['synced']);
    });
  }
});
