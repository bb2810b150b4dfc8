import assert from 'node:assert/strict';
import { ErofsError, writeImage } from '@soci/erofs';
import { buildTree, TreeError } from '@soci/tree';
import { Ztoc, ZtocBuilder, ZtocError } from '@soci/ztoc';
import { Random } from '../random.ts';
import { packTar, type TarMember, wildMembers } from '../random-tar.ts';
import { readGolden } from './golden.ts';
import { mutate } from './mutate.ts';
import type { FuzzTarget } from './target.ts';

const WINDOW_BYTES = 32_768;
const MADE_ZTOCS = 24;
const signal = new AbortController().signal;
const errors = [ZtocError, TreeError, ErofsError];

/** zTOCs as a registry may send them, from the bytes to the image that the kernel mounts. */
export async function openZtocs(): Promise<FuzzTarget> {
  const golden = (await readGolden()).ztocs.map(({ ztoc }) => ztoc);
  await using builder = new ZtocBuilder({ threads: 1 });
  const made: Uint8Array[] = [];
  // Small and without windows: nothing but names and numbers to hit.
  for (let i = 0; i < MADE_ZTOCS; i++) made.push(await ztocOf(builder, wildMembers(new Random(i), 4 + i)));
  const inputs = [...golden, ...made];
  const hot = new Map(inputs.map((input) => [input, outsideWindows(input)]));
  return {
    known: inputs,
    make: (random) => {
      const input = random.pick(random.chance(0.5) ? golden : made);
      return mutate(input, random, { others: inputs, hot: hot.get(input) ?? [] });
    },
    run: toImage,
    errors,
  };
}

/** Layers whose names are a trap, made into zTOCs by us: what gets through is what an attacker can really send. */
export async function openLayerNames(): Promise<FuzzTarget> {
  const builder = new ZtocBuilder({ threads: 1 });
  return await Promise.resolve({
    known: worstLayers().map(packTar),
    make: (random: Random) => packTar(wildMembers(random, 1 + random.below(60))),
    run: async (input: Uint8Array) => toImage((await buildUncompressed(builder, input)).bytes),
    errors,
    close: () => builder[Symbol.asyncDispose](),
  });
}

function toImage(input: Uint8Array): void {
  const ztoc = Ztoc.parse(input, { allowEmptySpans: true });
  for (let span = 0; span < ztoc.spanCount; span++) {
    const { offsetBytes, endBytes } = ztoc.compressedRange(span);
    assert.ok(
      0 <= offsetBytes && offsetBytes <= endBytes && endBytes <= ztoc.compressedSizeBytes,
      `span ${span}: ${offsetBytes}-${endBytes}`,
    );
    assert.equal(ztoc.window(span).length, WINDOW_BYTES);
    assert.match(ztoc.digest(span), /^sha256:/);
  }
  const columns = ztoc.columns();
  for (let i = 0; i < columns.count; i++) {
    const [start = 0, end = 0] = [columns.nameStart[i], columns.nameEnd[i]];
    assert.ok(start <= end && end <= input.length, `entry ${i}: name ${start}-${end}`);
  }
  const image = writeImage(buildTree(columns), { deviceSizeBytes: ztoc.uncompressedSizeBytes });
  assert.equal(image.length % 512, 0);
}

async function ztocOf(builder: ZtocBuilder, members: readonly TarMember[]): Promise<Uint8Array> {
  return (await buildUncompressed(builder, packTar(members))).bytes;
}

function buildUncompressed(builder: ZtocBuilder, tar: Uint8Array): ReturnType<ZtocBuilder['build']> {
  const stream = (async function* () {
    yield await Promise.resolve(tar);
  })();
  return builder.build({ stream }, { algorithm: 'uncompressed', spanSizeBytes: 4 << 20, buildTool: 'fuzz' }, signal);
}

/** The parts of a zTOC that are not checkpoint windows, which make up most of it and in which every byte is as good as another. */
function outsideWindows(input: Uint8Array): [number, number][] {
  const ztoc = Ztoc.parse(input, { allowEmptySpans: true });
  const windows = Array.from({ length: ztoc.spanCount }, (_, span) => ztoc.window(span))
    .filter((window) => window.buffer === input.buffer)
    .map((window) => window.byteOffset - input.byteOffset)
    .sort((a, b) => a - b);
  const ranges: [number, number][] = [];
  let from = 0;
  for (const start of windows) {
    ranges.push([from, start]);
    from = start + WINDOW_BYTES;
  }
  return [...ranges, [from, input.length]];
}

/** Layers that cost most where costs grow faster than the layer: links through links, xattrs on xattrs, depth, directories that go and come back. */
function worstLayers(): (readonly TarMember[])[] {
  const many = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
  const deep = 'd/'.repeat(2000);
  return [
    many(4000, (i) => ({ name: 'same/', type: '5', pax: [[`SCHILY.xattr.security.x${i}`, 'v'.repeat(100)]] })),
    [{ name: 'file', type: '0' }, ...many(4000, (i) => ({ name: `l${i}`, type: '1', link: 'file', pax: xattr(i) }))],
    [{ name: 'l0', type: '2', link: 'l0' }, ...many(300, (i) => ({ name: `l${i + 1}`, type: '2', link: `l${i}/x/../` })), inside('l300')],
    many(5000, (i) => ({ name: `${deep}${i}`, type: '0' })),
    many(3000, (i) => (i % 2 === 0 ? { name: `dir/${deep}x`, type: '0' } : { name: 'dir', type: '0' })),
    [{ name: 'dir/', type: '5', pax: many(20_000, (i) => [`SCHILY.xattr.user.x${i}`, 'v'] as const) }],
    many(400, (i) => ({ name: `f${i}`, type: '0', pax: [['SCHILY.xattr.user.big', 'v'.repeat(65_000)]] })),
    many(20_000, (i) => ({ name: `.wh.${i}`, type: '0' })),
  ];
}

function xattr(i: number): readonly (readonly [string, string])[] {
  return [[`SCHILY.xattr.user.x${i}`, 'v'.repeat(100)]];
}

function inside(directory: string): TarMember {
  return { name: `${directory}/file`, type: '0' };
}
