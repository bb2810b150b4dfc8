import { hasCode } from '@soci/errors';
import { LABEL } from '../labels.ts';
import type { Snapshotter } from '../snapshotter.ts';
import type { BlobFolder } from './blob-folder.ts';

/** One call, and which snapshots there are after it. */
export interface WorkStep {
  readonly name: string;
  readonly run: (snapshotter: Snapshotter, source: BlobFolder) => Promise<unknown>;
  /** The names in `before` when it has not been carried out. */
  after(before: ReadonlySet<string>): ReadonlySet<string>;
}

const never = new AbortController().signal;
const LAYERS = [0, 1] as const;
const chain = (index: number): string => `sha256:chain-${index}`;

function prepare(key: string, parent = ''): WorkStep {
  return {
    name: `prepare ${key}`,
    run: (snapshotter) => snapshotter.prepare({ key, parent, labels: {} }, never),
    after: (before) => new Set([...before, key]),
  };
}

function commit(key: string, name: string): WorkStep {
  return {
    name: `commit ${key}`,
    run: (snapshotter) => snapshotter.commit(key, name, { labels: {} }, never),
    after: (before) => new Set([...before].map((known) => (known === key ? name : known))),
  };
}

function remove(key: string): WorkStep {
  return {
    name: `remove ${key}`,
    run: (snapshotter) => snapshotter.remove(key, never),
    after: (before) => new Set([...before].filter((known) => known !== key)),
  };
}

function cleanup(): WorkStep {
  return { name: 'cleanup', run: (snapshotter) => snapshotter.cleanup(never), after: (before) => before };
}

/** A layer of the image, served lazily: it is there, under its chain id, when this is over. Half-way its key is. */
function pull(index: number): WorkStep {
  return {
    name: `pull layer ${index}`,
    run: async (snapshotter, { manifestDigest, layers }) => {
      const labels = {
        [LABEL.target]: chain(index),
        [LABEL.imageRef]: 'registry.example.com/app:1',
        [LABEL.manifestDigest]: manifestDigest,
        [LABEL.layerDigest]: layers[index] ?? '',
      };
      const parent = index === 0 ? '' : chain(index - 1);
      try {
        await snapshotter.prepare({ key: pullKey(index), parent, labels }, never);
      } catch (error) {
        if (!hasCode(error, 'ALREADY_EXISTS')) throw error;
        return;
      }
      throw new Error(`layer ${index} was left to the runtime`);
    },
    after: (before) => new Set([...before, chain(index)]),
  };
}

/** The key of a layer that is being pulled. */
export function pullKey(index: number): string {
  return `k8s.io/${index}/extract`;
}

/** All calls that change something, in an order that has each of them do so. */
export const WORKLOAD: readonly WorkStep[] = [
  prepare('plain'),
  commit('plain', 'plain-layer'),
  ...LAYERS.map(pull),
  prepare('container', chain(1)),
  commit('container', 'container-layer'),
  prepare('other', 'container-layer'),
  remove('other'),
  cleanup(),
  remove('container-layer'),
  remove(chain(1)),
  cleanup(),
  remove(chain(0)),
  cleanup(),
];
