import type { ContentStore } from '@soci/content';
import type { Logger } from '@soci/log';
import { BUILD_TOOL, DEFAULT_MIN_LAYER_SIZE_BYTES, DEFAULT_SPAN_SIZE_BYTES } from './annotations.ts';
import type { ArtifactsDb } from './artifacts-db.ts';
import { IndexError } from './errors.ts';
import type { BuildEvent } from './events.ts';

/** `xattr`: zTOCs of layers without extended attributes and opaque directories are marked, and their mounts need not look for any. */
export const OPTIMIZATIONS = ['xattr'] as const;
export type Optimization = (typeof OPTIMIZATIONS)[number];

/** How zTOCs and indexes are built; every field has the Go tool's default. */
export interface BuildSettings {
  /** Uncompressed bytes between checkpoints, 0 to 2^63 - 1; 4 MiB. */
  readonly spanSizeBytes?: bigint;
  /** Layers whose compressed size is below get no zTOC; 10 MiB. */
  readonly minLayerSizeBytes?: number;
  readonly buildTool?: string;
  readonly optimizations?: readonly Optimization[];
  /** Builds zTOCs again that the database knows. */
  readonly force?: boolean;
  /** Files whose spans go into prefetch artifacts. */
  readonly prefetchPaths?: readonly string[];
}

/** Makes the zTOC of one layer; `ZtocBuilder` of `@soci/ztoc` is one. */
export interface ZtocBuilding {
  build(
    source: { readonly path: string } | { readonly stream: AsyncIterable<Uint8Array> },
    options: { readonly algorithm: 'gzip' | 'uncompressed'; readonly spanSizeBytes: bigint; readonly buildTool: string },
    signal: AbortSignal,
    onProgress?: (bytesRead: number) => void,
  ): Promise<BuiltZtoc>;
}

export interface BuiltZtoc {
  readonly bytes: Uint8Array;
  readonly digest: string;
  readonly hasXattrs: boolean;
  readonly hasOpaque: boolean;
}

/** What a build works with. */
export interface BuildTools {
  /** Makes one layer's zTOC. Several layers are given to it at once. */
  readonly builder: ZtocBuilding;
  readonly log: Logger;
  readonly onEvent?: (event: BuildEvent) => void;
  readonly now?: () => Date;
  /** Layers that are open at once; by default as many as there are cores. */
  readonly maxParallelLayers?: number;
}

export interface BuildStores {
  /** Where the image is. */
  readonly content: ContentStore;
  /** Where zTOCs, indexes and rewritten manifests go: the same, or the store that `--content-store` chose. */
  readonly blobs: ContentStore;
  /** What was built before; undefined remembers nothing. */
  readonly artifacts?: ArtifactsDb;
}

export type Settings = Required<BuildSettings>;

const MAX_INT64 = 2n ** 63n - 1n;

/** @throws {IndexError} `OPTION_INVALID`, with the Go tool's wording */
export function completeSettings(settings: BuildSettings): Settings {
  const { spanSizeBytes = DEFAULT_SPAN_SIZE_BYTES, minLayerSizeBytes = DEFAULT_MIN_LAYER_SIZE_BYTES } = settings;
  if (spanSizeBytes < 0n) throw new IndexError('OPTION_INVALID', 'span size must be >= 0');
  if (spanSizeBytes > MAX_INT64) throw new IndexError('OPTION_INVALID', `span size must be <= ${MAX_INT64.toString()}`);
  if (minLayerSizeBytes < 0) throw new IndexError('OPTION_INVALID', 'min layer size must be >= 0');
  return {
    spanSizeBytes,
    minLayerSizeBytes,
    buildTool: settings.buildTool ?? BUILD_TOOL,
    optimizations: settings.optimizations ?? [],
    force: settings.force ?? false,
    prefetchPaths: settings.prefetchPaths ?? [],
  };
}

/** @throws {IndexError} `OPTION_INVALID` */
export function parseOptimization(text: string): Optimization {
  const known = OPTIMIZATIONS.find((optimization) => optimization === text);
  if (known === undefined) {
    throw new IndexError('OPTION_INVALID', `optimization ${text} is not a valid optimization [${OPTIMIZATIONS.join(' ')}]`);
  }
  return known;
}
