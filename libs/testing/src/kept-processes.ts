import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Processes of one snapshotter. While one starts another there may be two of a kind for a moment. */
export interface KeptProcesses {
  readonly keepers: readonly number[];
  readonly services: readonly number[];
}

/** In the environment of all processes of a snapshotter of a test: who starts whom changes when some are killed. */
export const MARK = 'SOCI_TEST_SNAPSHOTTER';

const SERVICE = '/service.js';
/** A keeper that has just begun, and one that has given itself a name. */
const KEEPERS = ['/main.js', 'soci-snapshotter'];

/** Looks through /proc. @param mark the value of the mark */
export function keptProcesses(mark: string): KeptProcesses {
  const found = readdirSync('/proc')
    .map(Number)
    .flatMap((pid) => (pid > 1 ? (look(pid, `${MARK}=${mark}`) ?? []) : []));
  const of = (kind: Kind): number[] => {
    const all = found.filter((process) => process.kind === kind);
    // One that is just being started looks like the one that starts it.
    return all.filter(({ parent }) => !all.some(({ pid }) => pid === parent)).map(({ pid }) => pid);
  };
  return { keepers: of('keeper'), services: of('service') };
}

type Kind = 'keeper' | 'service';

interface Found {
  readonly pid: number;
  readonly parent: number;
  readonly kind: Kind;
}

function look(pid: number, mark: string): Found | undefined {
  try {
    if (!readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(mark)) return undefined;
    if (!readlinkSync(`/proc/${pid}/exe`).endsWith('/node')) return undefined; // a wrapper, or a program that the service runs
    const [program = '', ...args] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    const parent = Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1]);
    if (args.some((arg) => arg.endsWith(SERVICE))) return { pid, parent, kind: 'service' };
    const isKeeper = KEEPERS.some((name) => program.startsWith(name) || args.some((arg) => arg.endsWith(name)));
    return isKeeper ? { pid, parent, kind: 'keeper' } : undefined;
  } catch {
    return undefined; // it is gone, or about to go
  }
}
