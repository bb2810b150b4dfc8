import { status as api } from '@soci/proto';
import { StatusError } from './errors.ts';
import type { HealthReport } from './health-report.ts';
import type { Trouble } from './recent-troubles.ts';
import type { RestoreState } from './snapshotter-view.ts';
import type { SnapshotterReport, SourceCondition, StatusReport } from './status-report.ts';
import { nameOf } from './wire-names.ts';

const { RestorePhase, SourceState } = api;

const PHASES = {
  waiting: RestorePhase.WAITING,
  running: RestorePhase.RUNNING,
  finished: RestorePhase.FINISHED,
} as const satisfies Record<RestoreState['phase'], api.RestorePhase>;

const STATES = {
  ready: SourceState.READY,
  'not-ready': SourceState.NOT_READY,
  failed: SourceState.FAILED,
  off: SourceState.OFF,
} as const satisfies Record<SourceCondition['state'], api.SourceState>;

export function toWireHealth({ ok, checks }: HealthReport): api.HealthReport {
  return { ok, checks: checks.map(({ name, ok, message }) => ({ name, ok, message })) };
}

/** @throws {StatusError} `FAILED` */
export function fromWireHealth(report: api.HealthReport | undefined): HealthReport {
  if (report === undefined) throw incomplete();
  return { ok: report.ok, checks: report.checks.map(({ name, ok, message }) => ({ name, ok, message })) };
}

export function toWireStatus({ uptimeMs, sockets, snapshotter, credentialSources, troubles, ...rest }: StatusReport): api.StatusResponse {
  return {
    ...rest,
    uptimeMs: BigInt(uptimeMs),
    sockets: sockets.map(({ name, address }) => ({ name, address })),
    snapshotter: snapshotter && toWireSnapshotter(snapshotter),
    credentialSources: credentialSources.map(({ name, state, reason }) => ({ name, state: STATES[state], reason })),
    troubles: troubles.map(({ level, message, detail, count, atMs }) => ({
      level,
      message,
      detail,
      count,
      atMs: BigInt(Math.trunc(atMs)),
    })),
  };
}

/** @throws {StatusError} `FAILED` for an answer of a service that knows more than this client */
export function fromWireStatus(response: api.StatusResponse): StatusReport {
  const { service, version, revision, pid, uptimeMs, runtime, kernel, root, configPath, sockets, snapshotter } = response;
  return {
    service,
    version,
    revision,
    pid,
    uptimeMs: Number(uptimeMs),
    runtime,
    kernel,
    root,
    configPath,
    sockets: sockets.map(({ name, address }) => ({ name, address })),
    snapshotter: snapshotter && fromWireSnapshotter(snapshotter),
    credentialSources: response.credentialSources.map(({ name, state, reason }) => ({ name, state: nameOf(STATES, state), reason })),
    troubles: response.troubles.map(fromWireTrouble),
  };
}

function toWireSnapshotter({ mode, restore, layers, readsWaiting, readsFailed, restarts }: SnapshotterReport): api.SnapshotterStatus {
  return {
    mode: mode?.mode ?? '',
    modeReason: mode?.reason ?? '',
    continuity: mode?.continuity ?? '',
    restorePhase: PHASES[restore.phase],
    snapshotsTotal: restore.total,
    snapshotsRestored: restore.restored,
    snapshotsNotRestored: restore.notRestoredCount,
    notRestored: restore.notRestored.map(({ key, layerDigest, reason }) => ({ key, layerDigest, reason })),
    layers: { ...layers },
    readsWaiting,
    readsFailed: Object.fromEntries(Object.entries(readsFailed).map(([reason, count]) => [reason, BigInt(count)])),
    restarts: restarts && { ...restarts, requestsResumed: BigInt(restarts.requestsResumed) },
  };
}

function fromWireSnapshotter(wire: api.SnapshotterStatus): SnapshotterReport {
  const { mode, modeReason, continuity, restorePhase, snapshotsTotal, snapshotsRestored, snapshotsNotRestored, notRestored, layers } = wire;
  if (layers === undefined) throw incomplete();
  const { used, served, complete, slots } = layers;
  return {
    mode: mode === '' ? undefined : { mode, reason: modeReason, continuity },
    restore: {
      phase: nameOf(PHASES, restorePhase),
      total: snapshotsTotal,
      restored: snapshotsRestored,
      notRestoredCount: snapshotsNotRestored,
      notRestored: notRestored.map(({ key, layerDigest, reason }) => ({ key, layerDigest, reason })),
    },
    layers: { used, served, complete, slots },
    readsWaiting: wire.readsWaiting,
    readsFailed: Object.fromEntries(Object.entries(wire.readsFailed).map(([reason, count]) => [reason, Number(count)])),
    restarts: wire.restarts && {
      count: wire.restarts.count,
      lastEnd: wire.restarts.lastEnd,
      requestsResumed: Number(wire.restarts.requestsResumed),
    },
  };
}

function fromWireTrouble({ level, message, detail, count, atMs }: api.Trouble): Trouble {
  return { level: level === 'warning' ? 'warning' : 'error', message, detail, count, atMs: Number(atMs) };
}

function incomplete(): StatusError {
  return new StatusError('FAILED', 'the answer of the service is not complete');
}
