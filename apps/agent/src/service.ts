import { DEFAULT_ADDRESS } from '@soci/config';
import { createFetcher } from '@soci/fetcher';
import { KeeperLink } from '@soci/fuse';
import { inheritedFuse } from '@soci/fuse/launcher';
import type { ImageReference } from '@soci/image';
import { credentialChain } from '@soci/keychain';
import { exitNow, trimMemory } from '@soci/linux';
import { createMetrics } from '@soci/metrics';
import { REVISION, returnMemoryWhenIdle, runService, VERSION, type ServiceContext } from '@soci/process';
import { serveSnapshotter, type RunningSnapshotter } from '@soci/snapshots';
import {
  healthRoutes,
  RecentTroubles,
  registerHealthMetrics,
  serveAdmin,
  ServiceHealth,
  SnapshotterWatch,
  type ServiceFacts,
} from '@soci/status';
import { openImageService } from './image-service.ts';
import { conditionOf, followPullSecrets, type PullSecrets } from './pull-secrets.ts';

const troubles = new RecentTroubles();

const service = {
  name: 'soci-snapshotter-grpc',
  about: 'containerd snapshotter that mounts image layers before they are fetched',
  defaultAddress: DEFAULT_ADDRESS,
  /** Below the five seconds in which whoever stops the service expects it gone. */
  graceMs: 4_500,
  exit: exitNow,
  onLogLine: (line: string): void => troubles.note(line),
};

/** All services in one process, behind one socket: the snapshotter, the fetcher and what brings credentials. */
async function main(context: ServiceContext, signal: AbortSignal): Promise<void> {
  const { config, log } = context;
  const { env } = process;
  const metrics = createMetrics({ processMetrics: true });
  await using resources = new AsyncDisposableStack();
  const { gc: collect } = globalThis;
  if (collect !== undefined) {
    // The usual collection leaves what it frees in V8's pool of pages.
    const collectAll = (): void => {
      collect({ type: 'major', flavor: 'last-resort' });
    };
    resources.use(returnMemoryWhenIdle({ collect: collectAll, trim: trimMemory }));
  }
  const keeper = KeeperLink.connect({ environment: env, log });
  if (keeper !== undefined) resources.use(keeper);

  let snapshotter: RunningSnapshotter | undefined;
  const isInUse = (reference: string): boolean => snapshotter?.isImageUsed(reference) ?? true;
  const cri = await openImageService({ context, metrics, keeper, isInUse }, resources, signal);
  const secrets = followPullSecrets({ context, env, metrics }, resources);
  const sources = { ...(cri && { cri: cri.credentials }), ...(secrets && { secrets: secrets.source }) };
  const chain = credentialChain({ config, env, log, metrics, ...sources });
  const namespacesOf = cri?.credentials.namespacesOf.bind(cri.credentials);
  const about = { ...context, env, ...(namespacesOf && { namespacesOf }) };
  const { fetcher } = resources.use(createFetcher({ ...about, credentials: chain.source }));

  /** Those of a read: also whoever pulled the image before the last stop. */
  const knownNamespaces = (reference: ImageReference): readonly string[] => {
    const noted = snapshotter?.namespacesOf(reference.canonical()) ?? [];
    return [...new Set([...(namespacesOf?.(reference) ?? []), ...noted])];
  };

  const watch = new SnapshotterWatch();
  const health = new ServiceHealth({ conditions: watch.conditions() });
  await registerHealthMetrics(metrics, health);
  const facts = factsOf(context, watch, secrets);
  const admin = await serveAdmin({
    ...about,
    namespacesOf: knownNamespaces,
    address: config.admin.address,
    sources: chain.links,
    health,
    facts,
  });
  if (admin !== undefined) resources.use(admin);

  await serveSnapshotter(
    {
      ...context,
      name: service.name,
      fuse: inheritedFuse(env),
      keeper,
      fetcher,
      env,
      metrics,
      routes: healthRoutes(health),
      passThrough: cri?.proxy,
      onOpen: (opened) => void (snapshotter = opened),
      monitor: watch,
    },
    signal,
  );
}

function factsOf({ root, configPath }: ServiceContext, snapshotter: SnapshotterWatch, secrets: PullSecrets | undefined): ServiceFacts {
  return {
    name: service.name,
    version: VERSION,
    revision: REVISION,
    root,
    configPath,
    snapshotter,
    troubles,
    sourceState: (name) => (name === secrets?.source.name ? conditionOf(secrets.sync.state) : undefined),
  };
}

await runService(service, process.argv.slice(2), process.env, main);
