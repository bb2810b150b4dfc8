import { describeError } from '@soci/errors';
import { parseContainerdReference } from '@soci/image';
import { convertImage, convertLayout, type LayoutFormat } from '@soci/index';
import { ZtocBuilder } from '@soci/ztoc';
import { bothStores } from '../both-stores.ts';
import { buildSettings, platformChoice } from '../build-options.ts';
import { reportBuild } from '../build-report.ts';
import { CliError } from '../errors.ts';
import type { BuildOptions } from '../options.ts';
import type { Session } from '../session.ts';

/** Most images have that many layers worth a zTOC. */
const WARM_THREADS = 4;

export interface ConvertOptions extends BuildOptions {
  readonly standalone?: boolean;
  readonly format: LayoutFormat;
}

/** `soci convert`: makes an image with v2 indexes, in containerd or from one OCI layout to another. */
export async function convert(
  [source = '', destination = '']: readonly string[],
  options: ConvertOptions,
  session: Session,
): Promise<void> {
  if (source === '') throw new CliError('ARGUMENT_MISSING', 'source image needs to be specified');
  if (destination === '') throw new CliError('ARGUMENT_MISSING', 'destination needs to be specified');
  if (options.standalone === true) await convertFiles(source, destination, options, session);
  else await convertInContainerd(source, destination, options, session);
}

async function convertFiles(input: string, output: string, options: ConvertOptions, session: Session): Promise<void> {
  await using builder = new ZtocBuilder();
  builder.warmUp(WARM_THREADS); // while the layout is being looked at
  const settings = await buildSettings(options);
  const platforms = platformChoice(options);
  using report = await reportBuild(session);
  const { log, signal } = session;
  await convertLayout({ ...settings, input, output, format: options.format, platforms, builder, log, onEvent: report.onEvent }, signal);
}

async function convertInContainerd(source: string, destination: string, options: ConvertOptions, session: Session): Promise<void> {
  checkDestination(destination);
  const settings = await buildSettings(options);
  const platforms = platformChoice(options);
  const image = await session.image(source);
  const { content, images } = await session.containerd();
  const leased = await session.leasedContent();
  // The image is containerd's, whichever store the artifacts go to: its index and manifests have to be there in any case.
  const blobs = session.globals.contentStore === 'containerd' ? leased : bothStores(await session.blobs(), leased);
  using report = await reportBuild(session);
  await using builder = new ZtocBuilder();
  const converted = await convertImage(
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
  await images.put({ name: destination, target: converted.target, labels: {} }, session.signal);
}

function checkDestination(reference: string): void {
  const why = whyNoDestination(reference);
  if (why === undefined) return;
  const form = 'the destination image must be a tagged ref of the form "registry/repository:tag"';
  throw new CliError('ARGUMENT_INVALID', `${form}: ${why}`);
}

function whyNoDestination(reference: string): string | undefined {
  try {
    const { object } = parseContainerdReference(reference);
    if (object === '') return 'reference must be tagged';
    return object.includes('@') ? 'reference must not contain a digest' : undefined;
  } catch (cause) {
    return `could not parse reference: ${describeError(cause)}`;
  }
}
