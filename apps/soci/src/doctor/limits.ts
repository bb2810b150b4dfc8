import { ok, warning, type Check, type Verdict } from './check.ts';
import type { DoctorContext } from './doctor-context.ts';

/** A layer that is served has three descriptors open; a node has thousands of layers at most. */
const MIN_DESCRIPTORS = 16_384;
const MIN_MEMORY_BYTES = 512 << 20;
const MEBIBYTE = 1 << 20;

/** Limits of the running service: descriptors, and the memory of its cgroup. */
export const limits: Check = {
  name: 'limits',
  run: async (context, signal) => {
    const pid = (await context.reportIfAny(signal))?.pid;
    if (pid === undefined) return [];
    return [await descriptors(context, pid), ...(await memory(context, pid))];
  },
};

async function descriptors(context: DoctorContext, pid: number): Promise<Verdict> {
  const file = (await context.readSystemFile(`/proc/${pid}/limits`))?.toString('utf8') ?? '';
  const soft = /^Max open files\s+(\S+)/m.exec(file)?.[1] ?? '';
  if (soft === '') return warning('the limits of the service cannot be read', 'run this as root, in the pid namespace of the service');
  if (soft === 'unlimited' || Number(soft) >= MIN_DESCRIPTORS) return ok(`the service may have ${soft} files open`);
  return warning(
    `the service may have ${soft} files open; a layer takes three`,
    'LimitNOFILE=1048576 in its unit, or ulimit -n before it is started',
  );
}

async function memory(context: DoctorContext, pid: number): Promise<readonly Verdict[]> {
  const cgroups = (await context.readSystemFile(`/proc/${pid}/cgroup`))?.toString('utf8') ?? '';
  const unified = /^0::(\/.*)$/m.exec(cgroups)?.[1];
  const legacy = /^\d+:memory:(\/.*)$/m.exec(cgroups)?.[1];
  const path = legacy === undefined ? `/sys/fs/cgroup${unified ?? '/'}/memory.max` : `/sys/fs/cgroup/memory${legacy}/memory.limit_in_bytes`;
  const limit = Number((await context.readSystemFile(path))?.toString('utf8').trim() ?? 'max');
  if (Number.isNaN(limit) || limit >= MIN_MEMORY_BYTES) return []; // `max`, and what cgroup v1 writes in its place
  return [
    warning(
      `the service may use ${Math.floor(limit / MEBIBYTE)} MiB of memory`,
      'MemoryMax=1G or more in its unit; a service that is killed for memory is started again and again',
    ),
  ];
}
