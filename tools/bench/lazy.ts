import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseReference } from '@soci/image';
import { DelayLine, Registry } from '@soci/testing';
import { pullAndRun, type Line, type Result } from '../demo/contest.ts';
import { buildDemoImage } from '../demo/image.ts';
import { totalSeconds } from '../demo/table.ts';
import { convert, LOGIN, ROOT } from '../e2e/stack.ts';
import { pushLayout } from '../image/push.ts';
import { dropCaches } from './access.ts';
import { BenchNode, goCompetitor, OURS, OVERLAYFS, type Competitor } from './bench-node.ts';
import type { BenchContext } from './context.ts';
import { median, medianRatio, type Report } from './report.ts';

const ONE_WAY_MS = 12.5;
const BITS_PER_SECOND = 200e6;

/** From an empty store to the ready line of the demo's image, over a long line. */
export async function benchLazy(context: BenchContext): Promise<void> {
  const { report, progress, peers, rounds } = context;
  await using resources = new AsyncDisposableStack();
  const scratch = join(context.scratch, 'lazy');
  await mkdir(join(scratch, 'registry'), { recursive: true });
  progress.step('converting and pushing the demo image');
  const converted = await convert(await buildDemoImage(join(ROOT, 'tmp', 'demo'), progress), join(scratch, 'converted'));
  const registry = resources.use(await Registry.start({ directory: join(scratch, 'registry'), login: LOGIN }));
  const [targetHost = '', port] = registry.host.split(':');
  const lineOptions = { targetHost, targetPort: Number(port), oneWayMs: ONE_WAY_MS, bitsPerSecond: BITS_PER_SECOND };
  const slowLine = resources.use(await DelayLine.start(lineOptions));
  const totalBytes = await pushLayout(converted, parseReference(`${registry.host}/bench/lazy:latest`), LOGIN, progress);
  const line: Line = { served: async () => ({ bytes: slowLine.answeredBytes, requests: (await registry.served()).requests }) };

  const results = new Map<Competitor, Result[]>([OURS, OVERLAYFS, ...goCompetitor(peers)].map((competitor) => [competitor, []]));
  for (let round = 0; round < rounds; round++) {
    const turn = [...results];
    for (const [competitor, taken] of round % 2 === 0 ? turn : turn.reverse()) {
      progress.step(`round ${round + 1}: ${competitor.name}`);
      await using node = await BenchNode.start(competitor, { directory: join(scratch, 'node'), registryHost: slowLine.host, peers });
      dropCaches();
      const contestant = { containerd: node.containerd, cri: node.cri, snapshotter: node.snapshotterName };
      taken.push(await pullAndRun(contestant, `${slowLine.host}/bench/lazy:latest`, LOGIN, line));
    }
  }
  report.heading(`demo image of ${(totalBytes / 1e6).toFixed(0)} MB from an empty store to its ready line, 25 ms round trip, 200 Mbit/s`);
  reportResults(results, totalBytes, report);
}

function reportResults(results: ReadonlyMap<Competitor, readonly Result[]>, totalBytes: number, report: Report): void {
  const totals = new Map<string, readonly number[]>();
  for (const [{ name }, taken] of results) {
    const of = (pick: (result: Result) => number): number => median(taken.map(pick));
    totals.set(name, taken.map(totalSeconds));
    const megabytes = `${of(({ bytes }) => bytes / 1e6).toFixed(1)} MB, ${of(({ requests }) => requests)} requests`;
    const parts = `pull ${of(({ pullSeconds }) => pullSeconds).toFixed(2)}, ready ${of(({ readySeconds }) => readySeconds).toFixed(2)}`;
    report.note(`${name}: pull + ready`, of(totalSeconds), 's', `${parts}; ${megabytes}`);
  }
  const ours = totals.get(OURS.name) ?? [];
  const share = median((results.get(OURS) ?? []).map(({ bytes }) => (100 * bytes) / totalBytes));
  report.figure('times sooner than overlayfs', medianRatio(totals.get(OVERLAYFS.name) ?? [], ours), 'x', { atLeast: 4 });
  report.figure('share of the image fetched before the ready line', share, '%', { atMost: 30 });
  const go = totals.get('go');
  if (go === undefined) report.missing("pull + ready to the Go snapshotter's", 'set SOCI_SNAPSHOTTER_GO to its soci-snapshotter-grpc');
  else report.figure("pull + ready to the Go snapshotter's", medianRatio(ours, go), 'x', { atMost: 0.8 });
}
