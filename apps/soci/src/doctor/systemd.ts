import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ok, problem, warning, type Check, type Verdict } from './check.ts';
import type { DoctorContext } from './doctor-context.ts';

const run = promisify(execFile);
const DEFAULT_UNIT = 'soci-snapshotter.service';
const PROPERTIES = ['LoadState', 'NotifyAccess', 'FileDescriptorStoreMax'] as const;
/** The FUSE device, the memories of service and keeper, and some to spare. */
const MIN_STORED = 8;

/** Whether systemd lets a restart be a pause: the service has to be able to leave descriptors with it. */
export const systemd: Check = {
  name: 'systemd',
  run: async (context, signal) => {
    if ((await context.readSystemFile('/proc/1/comm'))?.toString('utf8').trim() !== 'systemd') return [];
    const unit = await unitOf(context, signal);
    const { stdout } = await run('systemctl', ['show', unit, `--property=${PROPERTIES.join(',')}`], { signal });
    return judgeUnit(unit, stdout);
  },
};

/** @param shown what `systemctl show` printed */
export function judgeUnit(unit: string, shown: string): Verdict {
  const values = new Map(shown.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
  if (values.get('LoadState') !== 'loaded')
    return warning(`there is no unit ${unit}: nothing starts the service at boot`, 'install it, see docs/operations.md');
  const cure = `set NotifyAccess=all and FileDescriptorStoreMax=64 in ${unit}, then systemctl daemon-reload`;
  if (values.get('NotifyAccess') !== 'all')
    return problem(
      `${unit} has NotifyAccess=${values.get('NotifyAccess') ?? ''}: a restart of the unit takes the mounts from running containers`,
      cure,
    );
  const stored = Number(values.get('FileDescriptorStoreMax') ?? 0);
  if (!(stored >= MIN_STORED))
    return problem(`${unit} has FileDescriptorStoreMax=${stored}: a restart of the unit takes the mounts from running containers`, cure);
  return ok(`${unit} keeps the mounts over a restart`);
}

/** The unit that the service runs in; its usual name where it does not run, or not in one. */
async function unitOf(context: DoctorContext, signal: AbortSignal): Promise<string> {
  const pid = (await context.reportIfAny(signal))?.pid;
  const cgroup = pid === undefined ? undefined : await context.readSystemFile(`/proc/${pid}/cgroup`);
  return /\/([A-Za-z0-9@:._-]+\.service)(?:\/|$)/m.exec(cgroup?.toString('utf8') ?? '')?.[1] ?? DEFAULT_UNIT;
}
