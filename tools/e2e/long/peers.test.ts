import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { program, scratchFolder } from '../stack.ts';
import { Random, seedFrom } from './random.ts';
import { makeRandomImage } from './random-image.ts';

const run = promisify(execFile);

/** The Go tool's `soci`. */
const peer = process.env['SOCI_GO'];
const IMAGES = Number(process.env['PEER_IMAGES'] ?? '12');
const SPAN_SIZES = [4_096, 65_536, 100_000, 1_048_576, 4_194_304];
const seed = seedFrom(process.env['PEER_SEED']);

describe(`images made up with seed ${seed} (PEER_SEED), converted by both tools`, {
  skip: peer === undefined ? 'SOCI_GO names no soci of the Go project' : false,
}, () => {
  for (let number = 0; number < IMAGES; number++) {
    it(`image ${number} becomes the same, byte for byte`, { timeout: 120_000 }, async () => {
      await using resources = new AsyncDisposableStack();
      const directory = await scratchFolder(resources);
      const random = new Random(seed, number);
      const layout = await makeRandomImage(directory, random);
      const flags = ['--span-size', String(random.pick(SPAN_SIZES)), '--min-layer-size', '0'];

      const [theirs, ours] = [
        await convert(peer ?? '', layout, flags, 'theirs'),
        await convert(program('soci', 'soci'), layout, flags, 'ours'),
      ];

      assert.deepEqual(ours, theirs, `seed ${seed}, image ${number}, ${flags.join(' ')}`);
    });
  }
});

/** @returns digests of all files of the converted layout, by path */
async function convert(soci: string, layout: string, flags: readonly string[], name: string): Promise<Readonly<Record<string, string>>> {
  const out = join(layout, '..', name);
  await run(soci, ['--root', `${out}.root`, 'convert', '--standalone', '--format', 'oci-dir', ...flags, layout, out]);
  const entries = await readdir(out, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const digests: Record<string, string> = {};
  for (const path of files.sort())
    digests[path.slice(out.length + 1)] = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
  return digests;
}
