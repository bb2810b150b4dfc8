import { dedupePlatforms, type Descriptor, hostPlatform, type Platform } from '@soci/image';
import { type BuildSettings, type BuildStores, type BuildTools, completeSettings } from './build-options.ts';
import { buildIndexes, type BuiltIndex } from './build-indexes.ts';
import { imagePlatforms } from './image-reader.ts';

/** `default` is this machine's platform, or for a conversion of a single manifest the one that its config names. */
export type PlatformChoice = 'default' | 'all' | readonly Platform[];

export interface CreateIndexesOptions extends BuildStores, BuildTools, BuildSettings {
  /** The image: an index or a manifest. */
  readonly target: Descriptor;
  readonly platforms?: PlatformChoice;
}

/**
 * `soci create`: builds a v1 index for each platform of an image, and stores it with its zTOCs. The image itself stays as it is.
 *
 * Nothing that is written is a root for containerd's garbage collector: the caller runs this inside a lease, and then labels its image
 * `containerd.io/gc.ref.content.soci-index` (or `.soci-index.<n>` for more than one).
 *
 * @returns one index a platform, in the order of the platforms
 * @throws {IndexError} `EMPTY_INDEX`, `PLATFORM_NOT_FOUND`, `LAYER_UNSUPPORTED`, `BUILD_FAILED`, `IMAGE_INVALID`, `OPTION_INVALID`
 */
export async function createIndexes(options: CreateIndexesOptions, signal: AbortSignal): Promise<readonly BuiltIndex[]> {
  const { target, platforms = 'default' } = options;
  return await buildIndexes(
    {
      version: 'v1',
      target,
      platforms: await choosePlatforms(platforms, options, hostPlatform(), signal),
      stores: options,
      tools: options,
      settings: completeSettings(options),
      whenEmpty: 'fail',
    },
    signal,
  );
}

/** The platforms that a choice means for an image, none of them twice. */
export async function choosePlatforms(
  choice: PlatformChoice,
  { content, target }: Pick<CreateIndexesOptions, 'content' | 'target'>,
  byDefault: Platform,
  signal: AbortSignal,
): Promise<readonly Platform[]> {
  if (choice === 'all') return dedupePlatforms(await imagePlatforms(content, target, signal));
  return choice === 'default' || choice.length === 0 ? [byDefault] : dedupePlatforms(choice);
}
