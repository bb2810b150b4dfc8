import { mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Random } from '../random.ts';
import { openLayers, openSpans, openTars } from './stream-targets.ts';
import type { FuzzTarget, OpenTarget } from './target.ts';
import { openChallenges, openConfigs, openDockerConfigs, openDocuments, openFilters } from './text-targets.ts';
import { openLayerNames, openZtocs } from './ztoc-targets.ts';

/**
 * Tries one target for some seconds: `node run.ts --target ztoc --seed 1 --seconds 20 --progress FILE`, or a single input of a run with `--only NUMBER`.
 * It is a process of its own so that an input that never ends can be ended, and its memory measured.
 */
const TARGETS: Readonly<Record<string, OpenTarget>> = {
  ztoc: openZtocs,
  'layer-names': openLayerNames,
  tar: openTars,
  layer: openLayers,
  span: openSpans,
  documents: openDocuments,
  'docker-config': openDockerConfigs,
  challenge: openChallenges,
  filter: openFilters,
  config: openConfigs,
};

/** Of all threads; the machine may be slow, so this is far above what an input should take. */
const MAX_INPUT_CPU_MS = 5_000;
const MAX_MESSAGE_CHARACTERS = 32_768;
const FAILURES = join(import.meta.dirname, '..', '..', '..', '..', 'tmp', 'fuzz');

const { values } = parseArgs({
  options: {
    target: { type: 'string', default: '' },
    seed: { type: 'string', default: '0' },
    seconds: { type: 'string', default: '20' },
    progress: { type: 'string', default: '/dev/null' },
    only: { type: 'string' },
  },
});
const { target: name } = values;
const seed = Number(values.seed);

async function main(): Promise<void> {
  const open = TARGETS[name];
  if (open === undefined) throw new Error(`no target ${name}: ${Object.keys(TARGETS).join(', ')}`);
  const target = await open();
  const progress = openSync(values.progress, 'w');
  const end = performance.now() + Number(values.seconds) * 1_000;
  const first = Number(values.only ?? 0);
  const outcomes = new Map<string, number>();
  let slowest = { cpuMs: 0, number: 0 };
  let number = first;
  for (; number === first || (values.only === undefined && (number < target.known.length || performance.now() < end)); number++) {
    writeSync(progress, String(number).padEnd(16), 0);
    const { outcome, cpuMs } = await tryOne(target, number);
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    if (cpuMs > slowest.cpuMs) slowest = { cpuMs, number };
  }
  await target.close?.();
  const maxRssMegabytes = Math.round(process.resourceUsage().maxRSS / 1024);
  process.stdout.write(`${JSON.stringify({ inputs: number - first, outcomes: Object.fromEntries(outcomes), slowest, maxRssMegabytes })}\n`);
}

async function tryOne(target: FuzzTarget, number: number): Promise<{ readonly outcome: string; readonly cpuMs: number }> {
  const random = new Random(seed, number);
  const input = target.known[number] ?? target.make(random);
  const before = process.cpuUsage();
  let outcome = 'taken';
  try {
    await target.run(input, random);
  } catch (error) {
    outcome = judge(target, error, input, number);
  }
  const { user, system } = process.cpuUsage(before);
  const cpuMs = Math.round((user + system) / 1_000);
  if (cpuMs > MAX_INPUT_CPU_MS) throw defect(`took ${cpuMs} ms of processor time`, input, number);
  return { outcome, cpuMs };
}

/** The code of an error that was to be expected. */
function judge({ errors }: FuzzTarget, error: unknown, input: Uint8Array, number: number): string {
  if (!(error instanceof Error) || !errors.some((type) => error instanceof type))
    throw defect('threw what it must not', input, number, error);
  if (error.message.length > MAX_MESSAGE_CHARACTERS) throw defect(`has a message of ${error.message.length} characters`, input, number);
  return 'code' in error ? String(error.code) : error.name;
}

function defect(what: string, input: Uint8Array, number: number, cause?: unknown): Error {
  mkdirSync(FAILURES, { recursive: true });
  const path = join(FAILURES, `${name}-${seed}-${number}`);
  writeFileSync(path, input);
  return new Error(`input ${number} of seed ${seed} (${path}) ${what}`, { cause });
}

await main();
