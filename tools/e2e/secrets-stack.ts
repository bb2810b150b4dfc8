import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NO_BACKGROUND_FETCH } from './credential-config.ts';
import { secretsConfig, startKube, SYNC_USER, type Kube } from './kube.ts';
import { fileOf, makeLazyImage, type LazyImage } from './lazy-image.ts';
import { lazyLayers } from './mounts.ts';
import { readers, scratchFolder, Stack } from './stack.ts';

export interface PulledImage extends LazyImage {
  readonly reference: string;
  /** Whether its layers are mounted before they are there. */
  readonly isLazy: boolean;
  /** Whose credentials the snapshotter was let in with. */
  readonly readers: readonly string[];
}

/** A node whose snapshotter has its credentials from the secrets of a cluster, and from nowhere else. containerd has its own, as from a kubelet. */
export class SecretsStack implements AsyncDisposable {
  readonly kube: Kube;
  readonly stack: Stack;
  readonly #directory: string;
  readonly #resources: AsyncDisposableStack;
  #images = 0;

  private constructor(kube: Kube, stack: Stack, directory: string, resources: AsyncDisposableStack) {
    this.kube = kube;
    this.stack = stack;
    this.#directory = directory;
    this.#resources = resources;
  }

  /** @param logins of the registry, name to password @param prepare done with the cluster before the snapshotter starts */
  static async start(
    logins: Readonly<Record<string, string>>,
    prepare: (kube: Kube, host: string) => Promise<void>,
  ): Promise<SecretsStack> {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    const kube = resources.use(await startKube(join(directory, 'kube')));
    const stack = resources.use(
      await Stack.start({
        logins,
        dockerLogin: null,
        config: async ({ host }) => {
          await prepare(kube, host);
          return NO_BACKGROUND_FETCH + secretsConfig(kube.kubeconfig(SYNC_USER));
        },
      }),
    );
    return new SecretsStack(kube, stack, directory, resources.move());
  }

  get host(): string {
    return this.stack.proxy.host;
  }

  /** Pulls an image that was never there, and reads its first file in a container. */
  async pullNew(files = 1): Promise<PulledImage> {
    const name = `image-${this.#images++}`;
    const image = await makeLazyImage(join(this.#directory, name), { files });
    const reference = await this.stack.push(image.layout, `${name}/app:1`);
    const before = await lazyLayers(this.stack.directory);
    await this.stack.pull(reference);
    const isLazy = (await lazyLayers(this.stack.directory)) > before;
    const pulled = { ...image, reference, isLazy };
    await this.read(pulled, 0);
    return { ...pulled, readers: await readers(this.stack.registry, `${name}/app`) };
  }

  /** Reads a file in a container of its own. */
  async read(image: LazyImage & { readonly reference: string }, index: number): Promise<void> {
    const { path, digest } = fileOf(image, index);
    const id = `read-${this.#images++}`;
    const command = ['run', '--rm', '--snapshotter', 'soci', image.reference, id, 'sha256sum', `/${path}`];
    assert.equal((await this.stack.containerd.ctr(command)).slice(0, 64), digest);
  }

  /** Lines of the snapshotter's log with this text. */
  async logged(text: string): Promise<readonly string[]> {
    return (await readFile(this.stack.snapshotter.logPath, 'utf8')).split('\n').filter((line) => line.includes(text));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}
