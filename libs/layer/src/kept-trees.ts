import { inheritImplied, type Tree } from '@soci/tree';

/** A layer whose tree can be made. */
export interface TreeSource {
  readonly key: string;
  /** The layer's own tree, without what is below. */
  readonly build: () => Tree;
}

/**
 * Trees as they are above their lowers, kept for the layers above and for other images, least recently used first. However few are kept,
 * no tree is built twice for one layer.
 */
export class KeptTrees {
  readonly #trees = new Map<string, Tree>();
  readonly #maxInodes: number;

  /** @param maxInodes of all that are kept; the last one is kept whatever it has */
  constructor(maxInodes: number) {
    this.#maxInodes = maxInodes;
  }

  /** @param lowers nearest first */
  above(layer: TreeSource, lowers: readonly TreeSource[]): Tree {
    const known = this.#take(keyOf(layer, lowers));
    if (known !== undefined) return known;
    // From the lowest up, each above those that were made before it.
    const below: Tree[] = [];
    for (let i = lowers.length - 1; i >= 0; i--) {
      const [lower, ...others] = lowers.slice(i);
      if (lower !== undefined) below.unshift(this.#take(keyOf(lower, others)) ?? this.#make(lower, others, below));
    }
    return this.#make(layer, lowers, below);
  }

  #make(layer: TreeSource, lowers: readonly TreeSource[], below: readonly Tree[]): Tree {
    const tree = inheritImplied(layer.build(), below);
    this.#trees.set(keyOf(layer, lowers), tree);
    this.#forget();
    return tree;
  }

  #take(key: string): Tree | undefined {
    const tree = this.#trees.get(key);
    if (tree === undefined) return undefined;
    this.#trees.delete(key);
    this.#trees.set(key, tree);
    return tree;
  }

  #forget(): void {
    let kept = 0;
    for (const tree of this.#trees.values()) kept += tree.inodeCount;
    for (const [key, tree] of this.#trees) {
      if (kept <= this.#maxInodes || this.#trees.size === 1) return;
      this.#trees.delete(key);
      kept -= tree.inodeCount;
    }
  }
}

function keyOf(layer: TreeSource, lowers: readonly TreeSource[]): string {
  return [layer, ...lowers].map(({ key }) => key).join();
}
