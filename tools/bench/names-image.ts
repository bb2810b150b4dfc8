import { writeImage } from '@soci/erofs';
import { buildTree } from '@soci/tree';
import { makeColumns, type LayerEntry } from '@soci/tree/testing';
import type { BenchContext } from './context.ts';
import { median } from './report.ts';

const ENTRIES = 50_000;
const FILES_A_FOLDER = 8;
const FILE_BYTES = 700;
const MAX_MS = 300;

/** From the table of contents of a layer to its EROFS image. */
export function benchNamesImage({ report, rounds }: BenchContext): void {
  report.heading(`EROFS image of ${ENTRIES} entries, from table of contents over tree to bytes`);
  const entries = userland();
  const offsets = entries.map((_, index) => index * 2_048);
  const columns = makeColumns(entries, offsets);
  const times: number[] = [];
  let imageBytes = 0;
  for (let round = 0; round < rounds; round++) {
    const begin = performance.now();
    imageBytes = writeImage(buildTree(columns), { deviceSizeBytes: entries.length * 2_048 }).length;
    times.push(performance.now() - begin);
  }
  report.figure('tree and image', median(times), 'ms', { atMost: MAX_MS }, `first ${(times[0] ?? 0).toFixed(0)} ms, ${imageBytes} bytes`);
}

/** Folders as in /usr/share/doc: themselves, some files, a symbolic link. */
function userland(): readonly LayerEntry[] {
  const entries: LayerEntry[] = [];
  const data = Buffer.alloc(FILE_BYTES);
  for (let folder = 0; entries.length < ENTRIES; folder++) {
    const path = `usr/share/doc/section-${folder % 40}/package-${folder}`;
    const mtimeSeconds = 1_700_000_000 + folder;
    entries.push({ name: `${path}/`, type: 'dir', mtimeSeconds });
    for (let file = 0; file < FILES_A_FOLDER; file++) entries.push({ name: `${path}/changelog.part-${file}.txt`, mtimeSeconds, data });
    entries.push({ name: `${path}/latest`, type: 'symlink', link: 'changelog.part-0.txt', mtimeSeconds });
  }
  return entries;
}
