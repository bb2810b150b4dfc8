import { formatPlatform, hostPlatform, matchesPlatform } from '@soci/image';
import { createIndexes, type BuiltIndex } from '@soci/index';
import { ZtocBuilder } from '@soci/ztoc';
import { buildSettings, platformChoice } from '../build-options.ts';
import { reportBuild } from '../build-report.ts';
import { CliError } from '../errors.ts';
import type { BuildOptions } from '../options.ts';
import type { Session } from '../session.ts';

/** On an image in containerd: keeps its index from the garbage collector as long as the image is there. */
const INDEX_LABEL = 'containerd.io/gc.ref.content.soci-index';

/** `soci create`: builds a v1 index for an image in containerd. */
export async function create([name = '']: readonly string[], options: BuildOptions, session: Session): Promise<void> {
  if (name === '') throw new CliError('ARGUMENT_MISSING', 'source image needs to be specified');
  const settings = await buildSettings(options);
  const platforms = platformChoice(options);
  const image = await session.image(name);
  const { content, images } = await session.containerd();
  const blobs = session.globals.contentStore === 'containerd' ? await session.leasedContent() : await session.blobs();
  using report = await reportBuild(session);
  await using builder = new ZtocBuilder();
  const indexes = await createIndexes(
    {
      ...settings,
      target: image.target,
      platforms,
      content,
      blobs,
      artifacts: await session.artifacts(),
      builder,
      log: session.log,
      now: session.now,
      onEvent: report.onEvent,
    },
    session.signal,
  );
  if (blobs.kind === 'containerd') await images.label(name, Object.fromEntries(indexes.map(labelFor)), session.signal);
}

/** A name of its own for each platform but this machine's, so that indexes that are built one after the other all stay. */
function labelFor({ platform, descriptor }: BuiltIndex): [string, string] {
  const suffix = matchesPlatform(hostPlatform(), platform) ? '' : `.${formatPlatform(platform).replaceAll('/', '-')}`;
  return [`${INDEX_LABEL}${suffix}`, descriptor.digest];
}
