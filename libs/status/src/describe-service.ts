import { release } from 'node:os';
import type { ChainLink } from '@soci/keychain';
import { plainText } from './plain-text.ts';
import type { RecentTroubles } from './recent-troubles.ts';
import type { SnapshotterState } from './snapshotter-view.ts';
import type { SnapshotterWatch } from './snapshotter-watch.ts';
import type { SnapshotterReport, SocketReport, SourceCondition, StatusReport } from './status-report.ts';

/** What a service tells of itself besides its credential sources. */
export interface ServiceFacts {
  /** As in ps: `soci-snapshotter-grpc`. */
  readonly name: string;
  readonly version: string;
  readonly revision: string;
  /** State folder. */
  readonly root: string;
  readonly configPath: string;
  readonly snapshotter?: SnapshotterWatch;
  /** Of a source that is on and has more to say than that; the others are ready. */
  readonly sourceState?: (name: string) => Omit<SourceCondition, 'name'> | undefined;
  readonly troubles?: RecentTroubles;
}

const MAX_NOT_RESTORED = 100;

/** Puts together what is in memory; waits for nothing. */
export function describeService(facts: ServiceFacts, links: readonly ChainLink[], adminAddress: string): StatusReport {
  const { name, version, revision, root, configPath, snapshotter, troubles } = facts;
  const state = snapshotter?.view?.state();
  return {
    service: name,
    version,
    revision,
    pid: process.pid,
    uptimeMs: Math.round(process.uptime() * 1_000),
    runtime: process.version,
    kernel: release(),
    root,
    configPath,
    sockets: [
      ...socket('containerd', snapshotter?.address),
      ...socket('admin', adminAddress),
      ...socket('metrics', snapshotter?.metricsAddress),
    ],
    snapshotter: state && toReport(state),
    credentialSources: links.map((link) => conditionOf(link, facts)),
    troubles: troubles?.list ?? [],
  };
}

function socket(name: string, address: string | undefined): readonly SocketReport[] {
  return address === undefined || address === '' ? [] : [{ name, address }];
}

function toReport({ mode, restore, ...rest }: SnapshotterState): SnapshotterReport {
  const { notRestored, ...counts } = restore;
  return {
    ...rest,
    mode: mode && { ...mode, reason: plainText(mode.reason) },
    restore: {
      ...counts,
      notRestoredCount: notRestored.length,
      notRestored: notRestored
        .slice(0, MAX_NOT_RESTORED)
        .map((one) => ({ ...one, key: plainText(one.key), reason: plainText(one.reason) })),
    },
  };
}

function conditionOf(link: ChainLink, { sourceState }: ServiceFacts): SourceCondition {
  if ('off' in link) return { name: link.name, state: 'off', reason: plainText(link.off) };
  const { name } = link.source;
  const { state, reason } = sourceState?.(name) ?? { state: 'ready', reason: '' };
  return { name, state, reason: plainText(reason) };
}
