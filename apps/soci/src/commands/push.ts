import { describeError, hasCode } from '@soci/errors';
import { formatPlatform, hostPlatform, MEDIA_TYPE, type Descriptor, type Platform } from '@soci/image';
import { imagePlatforms, selectManifest, sociIndexVersion, type Artifact } from '@soci/index';
import { platformChoice } from '../build-options.ts';
import { CliError } from '../errors.ts';
import type { PlatformOptions, RegistryOptions } from '../options.ts';
import { pushIndex, type PushEvents } from '../push-graph.ts';
import { openPushTarget, type PushTarget } from '../push-target.ts';
import type { Session } from '../session.ts';

export interface PushOptions extends RegistryOptions, PlatformOptions {
  readonly existingIndex: string;
  readonly maxConcurrentUploads: bigint;
  readonly quiet?: boolean;
}

const EXISTING_INDEX = ['warn', 'skip', 'allow'];
const DEFAULT_UPLOADS = 3n;
/** More would only wait for the connections to one host. */
const MAX_UPLOADS = 32n;

/** What is pushed for one platform. */
interface Choice {
  readonly index: Artifact;
  readonly manifestDigest: string;
}

/** `soci push`: sends the newest v1 index of each platform, with its artifacts, to the image's repository. */
export async function push([name = '']: readonly string[], options: PushOptions, session: Session): Promise<void> {
  if (name === '') throw new CliError('ARGUMENT_MISSING', 'please provide an image reference to push');
  checkExistingIndex(options.existingIndex);
  const image = await session.image(name);
  const choices: Choice[] = [];
  for (const platform of await platformsOf(image.target, options, session)) choices.push(await choose(image.target, platform, session));
  await using target = await openPushTarget(name, options, session);
  for (const choice of choices) {
    if (await isToBePushed(choice, target, options, session)) await pushOne(choice, target, options, session);
  }
}

function checkExistingIndex(mode: string): void {
  if (EXISTING_INDEX.includes(mode)) return;
  throw new CliError('ARGUMENT_INVALID', `unexpected value for flag existing-index: ${mode}, expected types [${EXISTING_INDEX.join(' ')}]`);
}

async function platformsOf(target: Descriptor, options: PushOptions, session: Session): Promise<readonly Platform[]> {
  const choice = platformChoice(options);
  if (choice === 'default') return [hostPlatform()];
  if (choice !== 'all') return choice;
  return await imagePlatforms((await session.containerd()).content, target, session.signal);
}

async function choose(target: Descriptor, platform: Platform, session: Session): Promise<Choice> {
  const { content } = await session.containerd();
  const manifest = await selectManifest(content, target, platform, session.signal);
  const indexes = (await session.artifacts()).list({ kind: 'index', originalDigest: manifest.digest });
  if (indexes.some(({ artifactType }) => sociIndexVersion(artifactType) === 'v2')) {
    // The spelling is the Go tool's: scripts look for the line.
    session.print(
      '[WARN] Skippping SOCI index manifest v2. You should push the whole image with higher level tools like finch or nerdctl.',
    );
  }
  const [newest] = indexes
    .filter(({ artifactType }) => sociIndexVersion(artifactType) !== 'v2')
    .sort((a, b) => b.createdAt.getTime() - a.createdAt.getTime());
  if (newest === undefined) {
    throw new CliError('NOT_FOUND', `could not find any soci index manifest v1 to push for platform ${formatPlatform(platform)}`);
  }
  return { index: newest, manifestDigest: manifest.digest };
}

async function isToBePushed({ manifestDigest }: Choice, target: PushTarget, options: PushOptions, session: Session): Promise<boolean> {
  if (options.existingIndex === 'allow') return true;
  if (options.quiet !== true) session.print('checking if a soci index already exists in remote repository...');
  const found = await orFail('failed to fetch list of referrers', session, () =>
    target.client.referrers(target.repository, manifestDigest, MEDIA_TYPE.sociIndexV1, session.signal),
  );
  const [first, second] = found;
  if (first === undefined) return true;
  const message =
    second === undefined
      ? `soci index found in remote repository with digest: ${first.digest}`
      : 'multiple soci indices found in remote repository';
  if (options.existingIndex === 'warn') {
    session.print(`[WARN] ${message}: pushing index anyway`);
    return true;
  }
  if (options.quiet !== true) session.print(`${message}: skipping pushing artifacts for image manifest: ${manifestDigest}`);
  return false;
}

async function pushOne({ index }: Choice, target: PushTarget, options: PushOptions, session: Session): Promise<void> {
  const say = (line: string): void => {
    if (options.quiet !== true) session.print(line);
  };
  const events: PushEvents = {
    onPushing: (digest) => say(`pushing artifact with digest: ${digest}`),
    onPushed: (digest) => say(`successfully pushed artifact with digest: ${digest}`),
    onSkipped: (digest) => say(`skipped artifact with digest: ${digest}`),
  };
  session.print(options.quiet === true ? index.digest : `pushing soci index with digest: ${index.digest}`);
  const artifacts = await session.blobs();
  const { content: images } = await session.containerd();
  const uploads = options.maxConcurrentUploads === 0n ? DEFAULT_UPLOADS : options.maxConcurrentUploads;
  const maxUploads = Number(uploads > MAX_UPLOADS ? MAX_UPLOADS : uploads);
  const descriptor = { mediaType: index.mediaType, digest: index.digest, size: index.sizeBytes };
  await orFail('error pushing graph to remote', session, () =>
    pushIndex({ target, index: descriptor, artifacts, images, maxUploads, events }, session.signal),
  );
}

/** @param what goes before the reason, as the Go tool words it */
async function orFail<T>(what: string, session: Session, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (session.signal.aborted) throw session.signal.reason;
    throw new CliError('PUSH_FAILED', `${what}: ${describeError(cause)}${cureFor(cause)}`, { cause });
  }
}

function cureFor(cause: unknown): string {
  if (hasCode(cause, 'UNAUTHORIZED')) return ' (log in with --user or docker login)';
  if (hasCode(cause, 'CREDENTIALS_FAILED')) return ' (repair it, or log in with --user)';
  if (hasCode(cause, 'UNREACHABLE')) return ' (is the name right? --plain-http is for registries without TLS)';
  return '';
}
