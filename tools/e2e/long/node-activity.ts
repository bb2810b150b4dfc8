import type { Stack } from '../stack.ts';
import { LOGIN } from '../stack.ts';
import { type NodeImage, sha256, withView } from './node-image.ts';
import type { Random } from './random.ts';
import type { SnapshotsClient } from './snapshots-client.ts';

const PULL_MS = 30_000;

/**
 * A busy node: images are pulled, removed and read in random order, until it is stopped. The service may die at any time, so calls and reads may fail;
 * what must never happen is a read that gives other bytes.
 */
export class NodeActivity {
  /** Reads that gave wrong bytes, and counts of what was done. */
  readonly wrong: string[] = [];
  readonly done = { pulled: 0, removed: 0, read: 0, failed: 0 };
  readonly #stack: Stack;
  readonly #client: SnapshotsClient;
  readonly #images: readonly NodeImage[];
  #isStopping = false;
  #views = 0;

  constructor(stack: Stack, client: SnapshotsClient, images: readonly NodeImage[]) {
    this.#stack = stack;
    this.#client = client;
    this.#images = images;
  }

  /** Ends after {@link stop}, when its last call has. */
  async run(random: Random): Promise<void> {
    while (!this.#isStopping) {
      const image = random.pick(this.#images);
      try {
        await this.#step(image, random);
      } catch {
        this.done.failed++; // of a service that is not there; the node is looked at when it is
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  stop(): void {
    this.#isStopping = true;
  }

  async #step(image: NodeImage, random: Random): Promise<void> {
    const what = random.pick(['pull', 'pull', 'pull', 'read', 'read', 'read', 'read', 'remove'] as const);
    if (what === 'pull') {
      await this.#stack.cri.pullImage(image.reference, LOGIN, { timeoutMs: PULL_MS });
      this.done.pulled++;
    } else if (what === 'remove') {
      await this.#stack.cri.removeImage(image.reference);
      this.done.removed++;
    } else {
      const path = random.pick([...image.digests.keys()]);
      const view = { directory: this.#stack.directory, key: `busy-${this.#views++}-${random.word()}` };
      const digest = await withView(this.#client, image, view, (root) => sha256(`${root}/${path}`));
      if (digest !== image.digests.get(path)) this.wrong.push(`${image.reference} ${path}: ${digest}`);
      this.done.read++;
    }
  }
}
