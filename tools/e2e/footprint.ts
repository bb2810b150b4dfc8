import { readdirSync, readFileSync } from 'node:fs';

/** What processes hold of a machine. */
export interface Footprint {
  /** Sum of what each has resident, pages that they share counted for each. */
  readonly rssMegabytes: number;
  readonly threads: number;
  readonly descriptors: number;
  /** The same for each process, by its number. */
  readonly processes: ReadonlyMap<number, Omit<Footprint, 'processes'>>;
}

/** A process and all that it has started, and they in turn. */
export function footprintOf(root: number): Footprint {
  const processes = new Map<number, Omit<Footprint, 'processes'>>();
  for (const pid of processTree(root)) processes.set(pid, ownFootprint(pid));
  const sum = (pick: (one: Omit<Footprint, 'processes'>) => number): number =>
    [...processes.values()].reduce((total, one) => total + pick(one), 0);
  return {
    rssMegabytes: sum(({ rssMegabytes }) => rssMegabytes),
    threads: sum(({ threads }) => threads),
    descriptors: sum(({ descriptors }) => descriptors),
    processes,
  };
}

/** The number of a process, then those of all its descendants. */
export function processTree(root: number): readonly number[] {
  const children = readdirSync(`/proc/${root}/task`).flatMap((task) =>
    readFileSync(`/proc/${root}/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
  );
  return [root, ...children.flatMap(processTree)];
}

function ownFootprint(pid: number): Omit<Footprint, 'processes'> {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+([0-9]+)`, 'm').exec(status)?.[1]);
  return {
    rssMegabytes: field('VmRSS') / 1024,
    threads: field('Threads'),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  };
}
