import { availableParallelism, release } from 'node:os';
import { parseArgs } from 'node:util';
import { describeError } from '@soci/errors';
import { Progress } from '../demo/progress.ts';
import { benchBus } from './bus.ts';
import type { BenchContext, Peers } from './context.ts';
import { benchConvert } from './convert.ts';
import { benchCri } from './cri.ts';
import { benchLazy } from './lazy.ts';
import { benchMetadata } from './metadata.ts';
import { benchNamesImage } from './names-image.ts';
import { runInNamespaces } from './namespaces.ts';
import { Report } from './report.ts';
import { benchSecrets } from './secrets.ts';

const DEFAULT_ROUNDS = 5;

const SECTIONS: ReadonlyMap<string, (context: BenchContext) => Promise<void> | void> = new Map([
  ['convert', benchConvert],
  ['image', benchNamesImage],
  ['metadata', benchMetadata],
  ['lazy', benchLazy],
  ['cri', benchCri],
  ['secrets', benchSecrets],
  ['bus', benchBus],
]);

const USAGE = `usage: npm run bench -- [--rounds N] [SECTION...]
sections: ${[...SECTIONS.keys()].join(', ')}; all of them where none is named
environment: SOCI_GO, SOCI_SNAPSHOTTER_GO: programs of the Go tool to be measured too; SOCI_TEST_CONTAINERD: folder of another containerd than the installed one
`;

interface Arguments {
  readonly scratch: string | undefined;
  readonly rounds: number;
  readonly sections: readonly string[];
}

function parseArguments(args: readonly string[]): Arguments {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { scratch: { type: 'string' }, rounds: { type: 'string' } },
  });
  const rounds = Number(values.rounds ?? DEFAULT_ROUNDS);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`${values.rounds ?? ''} rounds: not a number of rounds`);
  const unknown = positionals.find((name) => !SECTIONS.has(name));
  if (unknown !== undefined) throw new Error(`no section ${unknown}`);
  return { scratch: values.scratch, rounds, sections: positionals.length > 0 ? positionals : [...SECTIONS.keys()] };
}

function peersOf({ SOCI_GO, SOCI_SNAPSHOTTER_GO, SOCI_TEST_CONTAINERD }: NodeJS.ProcessEnv): Peers {
  return {
    ...(SOCI_GO ? { soci: SOCI_GO } : {}),
    ...(SOCI_SNAPSHOTTER_GO ? { snapshotter: SOCI_SNAPSHOTTER_GO } : {}),
    ...(SOCI_TEST_CONTAINERD ? { containerd: SOCI_TEST_CONTAINERD } : {}),
  };
}

/** @returns the exit code: whether every section could be measured, whatever its figures are */
async function main({ scratch, rounds, sections }: Arguments): Promise<number> {
  if (process.getuid?.() !== 0) throw new Error('root is needed to mount layers and to run containers: try sudo npm run bench');
  if (scratch === undefined) return await runInNamespaces(import.meta.filename, process.argv.slice(2));
  const progress = new Progress(process.stderr);
  const report = new Report(process.stdout);
  const context = { report, progress, scratch, rounds, peers: peersOf(process.env) };
  let exitCode = 0;
  report.heading(`${availableParallelism()} cores, kernel ${release()}, median of ${rounds}`);
  for (const name of sections) {
    try {
      await SECTIONS.get(name)?.(context);
    } catch (error) {
      report.missing(name, describeError(error));
      exitCode = 1;
    }
    progress.clear();
  }
  report.end();
  return exitCode;
}

/** As the first process of its pid namespace it takes every other one with it. */
function endNow(): void {
  process.exit(130);
}

let parsed: Arguments | undefined;
try {
  parsed = parseArguments(process.argv.slice(2));
  if (parsed.scratch !== undefined) process.on('SIGINT', endNow).on('SIGTERM', endNow);
  process.exitCode = await main(parsed);
} catch (error) {
  process.stderr.write(`bench: ${describeError(error)}\n${parsed === undefined ? USAGE : ''}`);
  process.exitCode = parsed === undefined ? 2 : 1;
}
