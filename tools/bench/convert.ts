import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { buildDemoImage } from '../demo/image.ts';
import { program, ROOT } from '../e2e/stack.ts';
import type { BenchContext } from './context.ts';
import { readLayout } from './layout-reader.ts';
import { measureProcess, type ProcessFigures } from './measure-process.ts';
import { median, medianRatio } from './report.ts';

/** How the programs are started: as they are, and kept to one core. */
const WAYS: readonly { readonly name: string; readonly command: (path: string) => readonly [string, ...string[]] }[] = [
  { name: 'all cores', command: (path) => [path] },
  { name: 'one core', command: (path) => ['taskset', '-c', '0', path] },
];
const OURS = program('soci', 'soci');

/** `soci convert --standalone --format oci-dir` of the demo image, page cache warm, on all cores and on one, ours and the Go tool in turns. */
export async function benchConvert({ scratch, rounds, report, progress, peers }: BenchContext): Promise<void> {
  const layout = await buildDemoImage(join(ROOT, 'tmp', 'demo'), progress);
  const { layers } = await readLayout(layout);
  const megabytes = layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0) / 1e6;
  report.heading(
    `soci convert --standalone --format oci-dir, demo image of ${layers.length} layers and ${megabytes.toFixed(0)} MB, page cache warm`,
  );
  const programs = [OURS, ...(peers.soci === undefined ? [] : [peers.soci])];
  for (const { name, command } of WAYS) {
    await measureProcess(
      'cat',
      layers.map(({ path }) => path),
    );
    const taken = new Map<string, ProcessFigures[]>(programs.map((path) => [path, []]));
    for (let round = 0; round < rounds; round++) {
      progress.step(`convert on ${name}, round ${round + 1}`);
      const turn = [...taken];
      for (const [path, figures] of round % 2 === 0 ? turn : turn.reverse())
        figures.push(await convertOnce(command(path), layout, scratch));
    }
    const seconds = (path: string): readonly number[] => (taken.get(path) ?? []).map((figures) => figures.seconds);
    const peak = Math.max(...(taken.get(OURS) ?? []).map(({ peakMegabytes }) => peakMegabytes));
    report.note(`${name}: time`, median(seconds(OURS)), 's');
    if (peers.soci === undefined) report.missing(`${name}: times faster than the Go tool`, 'set SOCI_GO to its soci');
    else {
      report.note(`${name}: time of the Go tool`, median(seconds(peers.soci)), 's');
      report.figure(`${name}: times faster than the Go tool`, medianRatio(seconds(peers.soci), seconds(OURS)), 'x', { atLeast: 3 });
    }
    report.figure(`${name}: peak resident memory`, peak, 'MB', { atMost: 250 });
  }
}

async function convertOnce(command: readonly [string, ...string[]], layout: string, scratch: string): Promise<ProcessFigures> {
  const out = join(scratch, 'converted');
  const root = join(scratch, 'root');
  const [first, ...rest] = command;
  const figures = await measureProcess(first, [...rest, '--root', root, 'convert', '--standalone', '--format', 'oci-dir', layout, out]);
  for (const folder of [out, root]) await rm(folder, { recursive: true, force: true });
  return figures;
}
