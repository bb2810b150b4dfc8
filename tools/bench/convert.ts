import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { measureProcess, type ProcessFigures } from './measure-process.ts';
import { median, type Report } from './report.ts';

const ROUNDS = 5;

export interface ConvertOptions {
  /** An OCI layout of about a gigabyte of uncompressed layers. */
  readonly layout: string;
  readonly scratch: string;
  readonly soci: string;
  /** The Go tool, where there is one. */
  readonly sociGo: string | undefined;
}

/** `soci convert --standalone --format oci-dir` of the demo image, page cache warm, on all cores and on one, ours and the Go tool in turns. */
export async function benchConvert({ layout, scratch, soci, sociGo }: ConvertOptions, report: Report): Promise<void> {
  report.heading('soci convert --standalone --format oci-dir, demo image, page cache warm');
  for (const [name, prefix] of [
    ['all cores', []],
    ['one core', ['taskset', '-c', '0']],
  ] as const) {
    const ours: ProcessFigures[] = [];
    const theirs: ProcessFigures[] = [];
    const run = async (program: string): Promise<ProcessFigures> => {
      const out = join(scratch, 'converted');
      await rm(out, { recursive: true, force: true });
      const [command = program, ...args] = [
        ...prefix,
        program,
        '--root',
        join(scratch, 'root'),
        'convert',
        '--standalone',
        '--format',
        'oci-dir',
        layout,
        out,
      ];
      const figures = await measureProcess(command, args);
      await rm(join(scratch, 'root'), { recursive: true, force: true });
      return figures;
    };
    await warm(layout);
    for (let round = 0; round < ROUNDS; round++) {
      ours.push(await run(soci));
      if (sociGo !== undefined) theirs.push(await run(sociGo));
    }
    report.note(`${name}: time`, median(ours.map(({ seconds }) => seconds)), 's');
    if (sociGo === undefined) report.missing(`${name}: times faster than the Go tool`, 'set SOCI_GO to its soci');
    else {
      report.note(`${name}: time of the Go tool`, median(theirs.map(({ seconds }) => seconds)), 's');
      report.figure(
        `${name}: times faster than the Go tool`,
        median(theirs.map(({ seconds }, round) => seconds / (ours[round]?.seconds ?? Number.NaN))),
        'x',
        { atLeast: 3 },
      );
    }
    report.figure(`${name}: peak resident memory`, Math.max(...ours.map(({ peakMegabytes }) => peakMegabytes)), 'MB', { atMost: 250 });
  }
}

/** Reads every blob once, so that both programs find them in the page cache. */
async function warm(layout: string): Promise<void> {
  const index = JSON.parse(await readFile(join(layout, 'index.json'), 'utf8')) as {
    readonly manifests: readonly { readonly digest: string }[];
  };
  for (const { digest } of index.manifests) {
    const manifest = JSON.parse(await readFile(blob(layout, digest), 'utf8')) as {
      readonly layers: readonly { readonly digest: string }[];
    };
    for (const layer of manifest.layers) await measureProcess('cat', [blob(layout, layer.digest)]);
  }
}

function blob(layout: string, digest: string): string {
  return join(layout, 'blobs', 'sha256', digest.slice('sha256:'.length));
}
