import type { ZtocAlgorithm } from './checkpoints.ts';
import type { BuiltZtoc } from './layer-scanner.ts';
import type { ZtocErrorCode } from './ztoc-error.ts';

/** What builder and thread tell each other without messages: each of those would wake the other's processor. */
export interface SharedBuild {
  /** Other than 0 means: stop. */
  readonly cancelled: Int32Array;
  /** Compressed bytes read so far. */
  readonly bytesRead: Float64Array;
}

/** What the builder sends to a thread. One layer at a time. */
export type ToThread =
  | {
      readonly kind: 'build';
      readonly algorithm: ZtocAlgorithm;
      readonly spanSize: bigint;
      readonly buildTool: string;
      /** Absent when the layer comes in pieces. */
      readonly path?: string;
      readonly shared: SharedBuild;
    }
  /** The next bytes of the layer, `length` from the start of the buffer, which changes hands. */
  | { readonly kind: 'piece'; readonly buffer: ArrayBuffer; readonly length: number }
  /** No more pieces: the layer is whole, or given up. */
  | { readonly kind: 'end'; readonly whole: boolean }
  /** Free what is held, and exit. */
  | { readonly kind: 'stop' };

/** What a thread sends back. */
export type FromThread =
  /** A piece was read; its buffer comes back to be filled again. */
  | { readonly kind: 'taken'; readonly buffer: ArrayBuffer }
  | { readonly kind: 'built'; readonly result: BuiltZtoc }
  | { readonly kind: 'failed'; readonly code: ZtocErrorCode; readonly message: string };
