import { hasCode } from '@soci/errors';
import { VERSION } from '../version.ts';
import { ok, problem, warning, type Check, type Verdict } from './check.ts';

const MAX_TOLD = 3;

/** Whether a service runs, and which. */
export const service: Check = {
  name: 'service',
  run: async (context, signal) => {
    try {
      const { service: name, version, uptimeMs, snapshotter } = await context.report(signal);
      const restarts = snapshotter?.restarts;
      const text = `${name} ${version}, up for ${duration(uptimeMs)}`;
      if (version !== VERSION)
        return warning(`${text}; this program is ${VERSION}`, 'restart the service: it was upgraded and still runs as before');
      if (restarts !== undefined && restarts.count > 0) {
        const end = restarts.lastEnd === '' ? '' : ` (${restarts.lastEnd})`;
        return warning(
          `${text}; was started again ${times(restarts.count)} after it had died${end}`,
          'see why in its log; memory.max and the journal tell of kills',
        );
      }
      return ok(text);
    } catch (error) {
      if (hasCode(error, 'NOT_RUNNING'))
        return problem(error.message, 'start soci-snapshotter-grpc, or name [admin] address with --admin-address');
      if (hasCode(error, 'NO_PERMISSION')) return warning('the service cannot be asked by this user', 'run this as root');
      if (hasCode(error, 'FAILED'))
        return warning('the running service does not tell how it is doing', 'see its log; if it is of another version, restart it');
      throw error;
    }
  },
};

/** `/readyz`: one line for all that is as it should be, or one for each thing that is waited for. */
export const readiness: Check = {
  name: 'ready',
  run: async (context, signal) => {
    if ((await context.reportIfAny(signal)) === undefined) return [];
    const { live, ready } = await context.health(signal);
    const failed = [...live.checks, ...ready.checks].filter((check) => !check.ok);
    if (failed.length === 0) return ok(ready.checks.map(({ message }) => message).join('; ') || 'alive');
    return failed.map(({ name, message }) =>
      problem(`${name}: ${message}`, 'wait for it; if it stays so, see the log, then restart the service'),
    );
  },
};

/** Whether layers are served lazily, and why not. */
export const lazyMode: Check = {
  name: 'lazy-mode',
  run: async (context, signal) => {
    const mode = (await context.reportIfAny(signal))?.snapshotter?.mode;
    if (mode === undefined) return [];
    if (mode.mode === 'plain')
      return problem(
        `images are pulled plainly: ${mode.reason}`,
        'cure what the kernel, erofs, fuse and fuse-device checks say, then restart the service',
      );
    const how = CONTINUITY[mode.continuity] ?? 'a restart breaks reads that wait';
    return ok(`${mode.mode}: ${mode.reason}; ${how}`);
  },
};

const CONTINUITY: Readonly<Record<string, string>> = {
  resend: 'the kernel sends waiting reads again after a restart',
  journal: 'waiting reads are found in a journal after a restart',
};

/** Snapshots that could not be mounted again, and reads that failed. */
export const snapshots: Check = {
  name: 'snapshots',
  run: async (context, signal) => {
    const snapshotter = (await context.reportIfAny(signal))?.snapshotter;
    if (snapshotter === undefined) return [];
    const { restore, layers, readsWaiting, readsFailed } = snapshotter;
    const verdicts: Verdict[] = restore.notRestored
      .slice(0, MAX_TOLD)
      .map(({ key, layerDigest, reason }) =>
        warning(
          `snapshot ${key} (layer ${layerDigest}) is not restored: ${reason}`,
          'it is tried again on use; remove and pull the image again if it stays so',
        ),
      );
    const more = restore.notRestoredCount - verdicts.length;
    if (more > 0) verdicts.push(warning(`${more} more snapshots are not restored`, 'see the log: failed to restore remote snapshot'));
    const failures = Object.entries(readsFailed).filter(([, count]) => count > 0);
    if (failures.length > 0)
      verdicts.push(
        warning(
          `reads of containers failed with EIO: ${failures.map(([reason, count]) => `${count} ${reason}`).join(', ')}`,
          'see the log: what was not there yet could not be fetched',
        ),
      );
    const counts = `${layers.used} layers in use, ${layers.served} served through FUSE, ${readsWaiting} reads wait`;
    return verdicts.length === 0 ? ok(counts) : verdicts;
  },
};

export const credentialSources: Check = {
  name: 'credentials',
  run: async (context, signal) => {
    const sources = (await context.reportIfAny(signal))?.credentialSources ?? [];
    if (sources.length === 0) return [];
    const bad = sources.filter(({ state }) => state === 'failed' || state === 'not-ready');
    if (bad.length === 0) return ok(sources.map(({ name, state }) => `${name} ${state === 'off' ? 'off' : 'on'}`).join(', '));
    return bad.map(({ name, state, reason }) =>
      state === 'failed'
        ? problem(`${name} failed: ${reason}`, 'repair it: registries that it is meant for cannot be logged in to')
        : warning(`${name} cannot answer yet: ${reason}`, 'pulls that need it wait; see its documentation if it stays so'),
    );
  },
};

/** Warnings and errors that the service has logged of late. */
export const troubles: Check = {
  name: 'log',
  run: async (context, signal) => {
    const report = await context.reportIfAny(signal);
    if (report === undefined) return [];
    const shown = report.troubles.slice(0, MAX_TOLD);
    if (shown.length === 0) return ok('no warnings and no errors');
    const now = context.options.nowMs();
    return shown.map(({ level, message, detail, count, atMs }) =>
      warning(
        `${level} ${duration(now - atMs)} ago, ${times(count)}: ${message}${detail === '' ? '' : ` (${detail})`}`,
        'see the log of the service',
      ),
    );
  },
};

function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}
