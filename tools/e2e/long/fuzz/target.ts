import type { Random } from '../random.ts';

/** Code that takes bytes from strangers, and how to try it. */
export interface FuzzTarget {
  /** Tried first, as they are: good inputs, and the worst that anybody thought of. */
  readonly known: readonly Uint8Array[];
  /** One more input, the same for the same random numbers. */
  make(random: Random): Uint8Array;
  /** Throws one of `errors`, or returns; anything else is a defect, also an assertion that fails in here. */
  run(input: Uint8Array, random: Random): unknown;
  readonly errors: readonly (new (...args: never[]) => Error)[];
  /** Ends threads. */
  close?(): Promise<void>;
}

export type OpenTarget = () => Promise<FuzzTarget>;
