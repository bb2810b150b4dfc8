import { TreeError } from './tree-error.ts';

const MAX_STEPS = 32 * 1024 * 1024;

/**
 * A bound on the time that a hostile layer can take: bytes of link targets followed and components of paths walked, for a whole layer.
 * It is far above what any real layer asks for.
 */
export class WorkBudget {
  #left = MAX_STEPS;

  /** @throws {TreeError} `TOO_MANY_LINKS` when it is used up */
  spend(steps: number): void {
    this.#left -= steps;
    if (this.#left < 0) throw new TreeError('TOO_MANY_LINKS', 'the names of the layer lead through too many links and directories');
  }
}
