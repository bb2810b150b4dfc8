import { dropCaches, type Access, type View } from './access.ts';
import { formatFigure, median, medianRatio, type Bound, type Report } from './report.ts';

/** One way to use a mounted image. */
interface Probe {
  readonly name: string;
  readonly unit: string;
  readonly isWarm?: boolean;
  readonly measure: (access: Access, view: View) => Promise<number>;
  /** Of our value to overlayfs'. */
  readonly bound: Bound;
}

const PROBES: readonly Probe[] = [
  { name: 'stat, cold, 1 client', unit: 'us', bound: { atMost: 1 }, measure: (access, view) => access.stat(view, 1) },
  { name: 'stat, cold, 4 clients', unit: 'us', bound: { atMost: 1 }, measure: (access, view) => access.stat(view, 4) },
  { name: 'ls -lR, cold', unit: 's', bound: { atMost: 1 }, measure: (access, view) => access.list(view) },
  { name: 'small files, cold, 1 client', unit: 'us', bound: { atMost: 1 }, measure: (access, view) => access.readSmall(view, 1) },
  { name: 'small files, cold, 4 clients', unit: 'us', bound: { atMost: 1 }, measure: (access, view) => access.readSmall(view, 4) },
  { name: 'small files, warm', unit: 'us', bound: { atMost: 1.2 }, measure: (access, view) => access.readSmall(view, 1), isWarm: true },
  { name: 'large file, sequential, cold', unit: 'MB/s', bound: { atLeast: 1 }, measure: (access, view) => access.readSequentially(view) },
  { name: 'random 4 KiB, cold', unit: 'us', bound: { atMost: 1.7 }, measure: (access, view) => access.readRandomly(view) },
];

/** A mounted image, and by whom. */
export interface Subject {
  readonly name: string;
  readonly view: View;
}

export interface Comparison {
  readonly ours: Subject;
  readonly overlayfs: Subject;
  /** Measured in the same turns, without a bound. */
  readonly others: readonly Subject[];
  /** Whether ours is held against the bounds, or only reported. */
  readonly hasBounds: boolean;
}

/** Takes every probe of every subject in turns, and reports ours against overlayfs'. */
export async function compareAccess(
  access: Access,
  { ours, overlayfs, others, hasBounds }: Comparison,
  rounds: number,
  report: Report,
  onProbe: (name: string) => void,
): Promise<void> {
  for (const probe of PROBES) {
    onProbe(probe.name);
    const values = new Map<Subject, number[]>([ours, overlayfs, ...others].map((subject) => [subject, []]));
    for (let round = 0; round < rounds; round++) {
      const turn = [...values];
      for (const [{ view }, taken] of round % 2 === 0 ? turn : turn.reverse()) taken.push(await take(probe, access, view));
    }
    const of = (subject: Subject): readonly number[] => values.get(subject) ?? [];
    const beside = [...values].map(([{ name }, taken]) => `${name} ${formatFigure(median(taken))}`).join(', ');
    const ratio = medianRatio(of(ours), of(overlayfs));
    if (hasBounds) report.figure(probe.name, ratio, 'x', probe.bound, `${beside} ${probe.unit}`);
    else report.note(probe.name, ratio, 'x', `${beside} ${probe.unit}`);
  }
}

async function take({ isWarm = false, measure }: Probe, access: Access, view: View): Promise<number> {
  if (isWarm) await measure(access, view);
  else dropCaches();
  return await measure(access, view);
}
