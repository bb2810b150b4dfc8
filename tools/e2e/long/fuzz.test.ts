import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { seedFrom } from './random.ts';

const SECONDS = Number(process.env['FUZZ_SECONDS'] ?? '20');
const seed = seedFrom(process.env['FUZZ_SEED']);
/** An input that takes longer never ends. */
const MAX_INPUT_MS = 60_000;
const MAX_HEAP_MEGABYTES = 512;
const RUN = join(import.meta.dirname, 'fuzz', 'run.ts');

/** What may stay resident at most, in megabytes: Node, the inputs at hand, and what the largest known input is allowed to take. */
const TARGETS: Readonly<Record<string, number>> = {
  ztoc: 900,
  'layer-names': 900,
  tar: 500,
  layer: 900,
  span: 700,
  documents: 900,
  'docker-config': 500,
  challenge: 400,
  filter: 500,
  config: 700,
};

interface Summary {
  readonly inputs: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly maxRssMegabytes: number;
}

describe(`bytes from strangers, seed ${seed} (FUZZ_SEED), ${SECONDS} s each (FUZZ_SECONDS)`, () => {
  for (const [target, maxRssMegabytes] of Object.entries(TARGETS)) {
    it(`${target}: ends in time with an error of its own or a result`, { timeout: SECONDS * 1_000 + 4 * MAX_INPUT_MS }, async (t) => {
      const again = `node --conditions=@soci/source ${RUN} --target ${target} --seed ${seed} --only NUMBER`;
      const { status, output, last } = await runTarget(target);
      assert.equal(status, 0, `${output}\nlast input: ${last}; to try it again: ${again}`);
      t.diagnostic(output.trim());
      const summary = JSON.parse(output) as Summary;
      assert.ok(summary.inputs > 0, output);
      assert.ok(summary.maxRssMegabytes <= maxRssMegabytes, `more than ${maxRssMegabytes} MB at seed ${seed}: ${output}`);
    });
  }
});

/** Runs a target in its own process; ended when one input holds it too long. */
async function runTarget(
  target: string,
): Promise<{ readonly status: number | NodeJS.Signals; readonly output: string; readonly last: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'soci-fuzz-'));
  const progress = join(directory, 'progress');
  const flags = [
    '--conditions=@soci/source',
    `--max-old-space-size=${MAX_HEAP_MEGABYTES}`,
    RUN,
    '--target',
    target,
    '--seed',
    String(seed),
  ];
  const child = spawn(process.execPath, [...flags, '--seconds', String(SECONDS), '--progress', progress], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const read = (): Promise<string> => readFile(progress, 'utf8').catch(() => '');
  let [last, since] = ['', performance.now()];
  const watch = setInterval(() => {
    void read().then((now) => {
      if (now !== last) [last, since] = [now, performance.now()];
      else if (performance.now() - since > MAX_INPUT_MS) child.kill('SIGKILL');
    });
  }, 1_000);
  try {
    const ended = new Promise<number | NodeJS.Signals>((resolve) => child.on('close', (code, signal) => resolve(signal ?? code ?? 1)));
    const [status, stdout, stderr] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
    return { status, output: status === 0 ? stdout : stdout + stderr, last: (await read()).trim() };
  } finally {
    clearInterval(watch);
    await rm(directory, { recursive: true });
  }
}
