import { execFile } from 'node:child_process';
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** No span is shorter, but the last one of a layer. */
const STEP_BYTES = 4 << 20;
const PAGE_BYTES = 4_096;
const SEED = 20_231;

interface Place {
  readonly path: string;
  readonly offsetBytes: number;
}

/**
 * Reads a page of every span of every layer through the FUSE mount that serves them, in an order that is random and the same in every run. Afterwards all their bytes are local.
 * @param fuseFolder where the mount is
 * @param namesPaths what the layers are mounted from: `<slot>.names`, beside which their bytes are
 */
export async function fillThroughFuse(
  fuseFolder: string,
  namesPaths: readonly string[],
  onPlace: (done: number, of: number) => void,
): Promise<void> {
  const places: Place[] = [];
  for (const namesPath of new Set(namesPaths)) {
    const name = namesPath.slice(namesPath.lastIndexOf('/') + 1).replace(/names$/, 'bytes');
    places.push(...(await placesOf(join(fuseFolder, name))));
  }
  const page = Buffer.alloc(PAGE_BYTES);
  for (const [done, { path, offsetBytes }] of shuffled(places).entries()) {
    onPlace(done, places.length);
    await using file = await open(path);
    await file.read(page, 0, PAGE_BYTES, offsetBytes);
  }
}

/** Reads every file of a mounted image. */
export async function fillThroughView(root: string): Promise<void> {
  await run('sh', ['-c', 'tar -C "$1" -cf - . | cat > /dev/null', 'sh', root]);
}

async function placesOf(path: string): Promise<readonly Place[]> {
  const { size } = await stat(path);
  const places: Place[] = [];
  for (let offsetBytes = 0; offsetBytes < size; offsetBytes += STEP_BYTES) places.push({ path, offsetBytes });
  places.push({ path, offsetBytes: Math.max(0, size - PAGE_BYTES) });
  return places;
}

function shuffled<T>(items: readonly T[]): readonly T[] {
  let state = SEED;
  const random = (): number => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32;
  return items
    .map((item) => ({ item, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}
