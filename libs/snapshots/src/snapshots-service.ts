import { setImmediate } from 'node:timers/promises';
import { snapshots, type Timestamp } from '@soci/proto';
import { implement, type ServiceImplementation } from '@soci/rpc';
import { SnapshotError } from './errors.ts';
import { toLabels } from './labels.ts';
import type { Snapshotter, SnapshotRequest } from './snapshotter.ts';
import type { Labels, Mount, SnapshotInfo, SnapshotKind } from './snapshot.ts';

const NS_PER_SECOND = 1_000_000_000n;
/** containerd's own service sends as many in one message. */
const INFOS_PER_MESSAGE = 100;
const KINDS = {
  view: snapshots.Kind.VIEW,
  active: snapshots.Kind.ACTIVE,
  committed: snapshots.Kind.COMMITTED,
} as const satisfies Record<SnapshotKind, snapshots.Kind>;

/** containerd.services.snapshots.v1 over a {@link Snapshotter}. The `snapshotter` field of the requests is ignored: there is one. */
export function snapshotsService(snapshotter: Snapshotter): ServiceImplementation {
  return implement(snapshots.SnapshotsService, {
    prepare: async (request, { signal, namespace }) => ({
      mounts: toProtoMounts(await snapshotter.prepare(toRequest(request, namespace), signal)),
    }),
    view: async (request, { signal, namespace }) => ({
      mounts: toProtoMounts(await snapshotter.view(toRequest(request, namespace), signal)),
    }),
    mounts: async ({ key }, { signal }) => ({ mounts: toProtoMounts(await snapshotter.mounts(key, signal)) }),
    commit: async ({ key, name, labels, parent }, { signal }) => {
      await snapshotter.commit(key, name, { labels: fromProtoLabels(labels), parent }, signal);
      return {};
    },
    remove: async ({ key }, { signal }) => {
      await snapshotter.remove(key, signal);
      return {};
    },
    stat: ({ key }) => Promise.resolve({ info: toProtoInfo(snapshotter.stat(key)) }),
    update: ({ info, updateMask }) => {
      if (info === undefined) throw new SnapshotError('INVALID_ARGUMENT', 'update: no snapshot is named');
      return Promise.resolve({ info: toProtoInfo(snapshotter.update(info.name, fromProtoLabels(info.labels), updateMask ?? [])) });
    },
    list: ({ filters }) => batches(snapshotter.list(filters)),
    usage: async ({ key }, { signal }) => {
      const { sizeBytes, inodes } = await snapshotter.usage(key, signal);
      return { size: BigInt(sizeBytes), inodes: BigInt(inodes) };
    },
    cleanup: async (_request, { signal }) => {
      await snapshotter.cleanup(signal);
      return {};
    },
  });
}

async function* batches(infos: readonly SnapshotInfo[]): AsyncGenerator<snapshots.ListSnapshotsResponse> {
  for (let start = 0; start < infos.length; start += INFOS_PER_MESSAGE) {
    if (start > 0) await setImmediate(); // thousands of snapshots do not keep other calls waiting
    yield { info: infos.slice(start, start + INFOS_PER_MESSAGE).map((info) => toProtoInfo(info)) };
  }
}

interface ProtoRequest {
  readonly key: string;
  readonly parent: string;
  readonly labels: Readonly<Record<string, string>>;
}

function toRequest({ key, parent, labels }: ProtoRequest, namespace: string | undefined): SnapshotRequest {
  return { key, parent, labels: fromProtoLabels(labels), namespace };
}

function fromProtoLabels(labels: Readonly<Record<string, string>>): Labels {
  return toLabels(Object.entries(labels));
}

function toProtoMounts(mounts: readonly Mount[]): snapshots.PrepareSnapshotResponse['mounts'] {
  return mounts.map(({ type, source, options }) => ({ type, source, target: '', options: [...options] }));
}

function toProtoInfo({ name, parent, kind, labels, createdNs, updatedNs }: SnapshotInfo): snapshots.Info {
  return { name, parent, kind: KINDS[kind], createdAt: toTimestamp(createdNs), updatedAt: toTimestamp(updatedNs), labels };
}

function toTimestamp(ns: bigint): Timestamp {
  return { seconds: ns / NS_PER_SECOND, nanos: Number(ns % NS_PER_SECOND) };
}
