import assert from 'node:assert/strict';
import { constants, gzipSync } from 'node:zlib';
import { createHash } from 'node:crypto';
import { TarError, TarParser } from '@soci/tar';
import { inflateSpan, SPAN_HEADROOM_BYTES, ZlibError } from '@soci/zlib';
import { Ztoc, ZtocBuilder, ZtocError } from '@soci/ztoc';
import { Random } from '../random.ts';
import { packTar, wildMembers, writeChecksum } from '../random-tar.ts';
import { readGolden } from './golden.ts';
import { mutate } from './mutate.ts';
import type { FuzzTarget } from './target.ts';

const BLOCK_BYTES = 512;
const MEBIBYTE = 1 << 20;
const signal = new AbortController().signal;

/** Tar streams, in pieces of any size: what is found must not depend on the pieces. */
export function openTars(): Promise<FuzzTarget> {
  const tars = Array.from({ length: 24 }, (_, i) => packTar(wildMembers(new Random(i), 2 + i)));
  const records = Array.from({ length: 60_000 }, (_, i) => [`k${60_000 - i}`, 'v'] as const);
  return Promise.resolve({
    known: [...tars, packTar([{ name: 'f', type: '0', pax: records }])],
    make: (random) => mutateTar(tars, random),
    run: (input, random) => {
      const whole = listTar(input, () => input.length);
      const pieces = listTar(input, () => 1 + random.below(random.pick([3, 600, 5000])));
      assert.equal(pieces.digest, whole.digest);
      if (whole.error !== undefined) throw whole.error;
    },
    errors: [TarError],
  });
}

/** Layers into the builder: broken gzip, broken tars in good gzip, members in any number, sources that fail, bombs. */
export async function openLayers(): Promise<FuzzTarget> {
  const golden = await readGolden();
  const layers = golden.ztocs.filter(({ kind, layer }) => kind === 'gzip' && layer.length < MEBIBYTE).map(({ layer }) => layer);
  const tars = Array.from({ length: 24 }, (_, i) => packTar(wildMembers(new Random(i), 2 + i)));
  const bomb = gzipSync(packTar([{ name: 'zeros', type: '0', data: Buffer.alloc(64 * MEBIBYTE) }]));
  const builder = new ZtocBuilder({ threads: 1 });
  return {
    known: [...layers, bomb, Buffer.concat(Array.from({ length: 20_000 }, () => gzipSync('')))],
    make: (random) =>
      random.chance(0.5) ? mutate(random.pick(layers), random, { others: layers }) : gzipped(mutateTar(tars, random), random),
    run: async (input, random) => {
      const algorithm = random.chance(0.95) ? 'gzip' : 'uncompressed';
      const options = { algorithm, spanSizeBytes: random.pick([4096, 65_536, 4 * MEBIBYTE]), buildTool: 'fuzz' } as const;
      const { bytes } = await builder.build({ stream: inPieces(input, random) }, options, signal);
      Ztoc.parse(bytes, { allowEmptySpans: true }).columns();
    },
    errors: [ZtocError],
    close: () => builder[Symbol.asyncDispose](),
  };
}

/** Spans of layers: other bytes, windows, bits and sizes than the zTOC says. */
export async function openSpans(): Promise<FuzzTarget> {
  const golden = await readGolden();
  const spans = golden.ztocs.flatMap(({ ztoc: bytes, layer, kind }) => {
    const ztoc = Ztoc.parse(bytes, { allowEmptySpans: true });
    return Array.from({ length: Math.min(ztoc.spanCount, 8) }, (_, span) => {
      const { offsetBytes, endBytes } = ztoc.compressedRange(span);
      const sizeBytes = (ztoc.spanStartBytes[span + 1] ?? 0) - (ztoc.spanStartBytes[span] ?? 0);
      return { input: layer.subarray(offsetBytes, endBytes), bits: ztoc.bits(span), window: ztoc.window(span), sizeBytes, kind };
    });
  });
  const inputs = spans.map(({ input }) => input);
  const inflate = async (input: Uint8Array, options: Omit<(typeof spans)[number], 'input'>): Promise<void> => {
    const output = await inflateSpan(Buffer.concat([Buffer.alloc(SPAN_HEADROOM_BYTES), input]), options);
    assert.equal(output.length, options.sizeBytes);
  };
  return {
    known: inputs,
    make: (random) => mutate(random.pick(inputs), random, { others: inputs }),
    run: (input, random) => {
      const known = spans.find((span) => span.input === input);
      if (known !== undefined) return inflate(input, known);
      const { bits, window, sizeBytes, kind } = random.pick(spans);
      return inflate(input, {
        bits: random.chance(0.5) ? bits : random.below(9),
        window: random.chance(0.9) ? window : window.subarray(random.below(window.length)),
        sizeBytes: random.chance(0.5)
          ? sizeBytes
          : random.pick([0, 1, sizeBytes + 1, random.below(8 * MEBIBYTE), 2 ** 40, -1, 0.5, Number.NaN]),
        kind,
      });
    },
    errors: [ZlibError],
  };
}

/** Most damage to a header is found by its checksum, so that is mostly made right again. */
function mutateTar(tars: readonly Buffer[], random: Random): Buffer {
  const bytes = mutate(random.pick(tars), random, { others: tars });
  if (random.chance(0.2)) return bytes;
  for (let at = 0; at + BLOCK_BYTES <= bytes.length; at += BLOCK_BYTES) {
    if (bytes.toString('latin1', at + 257, at + 262) === 'ustar') writeChecksum(bytes, at);
  }
  return bytes;
}

interface TarList {
  /** Of all that was found, the error included. */
  readonly digest: string;
  readonly error: TarError | undefined;
}

function listTar(input: Uint8Array, pieceBytes: () => number): TarList {
  const hash = createHash('sha256');
  const parser = new TarParser(({ name, linkName, typeFlag, sizeBytes, offsetBytes, headerOffsetBytes, mode, records }) => {
    hash.update(name.bytes.subarray(name.start, name.end)).update(linkName.bytes.subarray(linkName.start, linkName.end));
    hash.update(`${typeFlag} ${sizeBytes} ${offsetBytes} ${headerOffsetBytes} ${mode} ${records.count}\0`);
  });
  let error: TarError | undefined;
  try {
    for (let at = 0; at < input.length; ) {
      const end = Math.min(input.length, at + pieceBytes());
      parser.push(input, at, end);
      at = end;
    }
    parser.finish();
  } catch (thrown) {
    if (!(thrown instanceof TarError)) throw thrown;
    error = thrown;
    hash.update(`${thrown.code} ${thrown.message}`);
  }
  return { digest: hash.digest('hex'), error };
}

/** As one gzip member or several, of any level. */
function gzipped(tar: Buffer, random: Random): Buffer {
  const members: Buffer[] = [];
  for (let at = 0; at < tar.length || members.length === 0; ) {
    const end = random.chance(0.5) ? tar.length : at + random.below(tar.length - at + 1);
    members.push(gzipSync(tar.subarray(at, end), { level: random.below(10), memLevel: 1 + random.below(constants.Z_MAX_MEMLEVEL) }));
    at = end;
  }
  if (random.chance(0.1)) members.push(random.bytes(random.below(40)));
  return Buffer.concat(members);
}

async function* inPieces(input: Uint8Array, random: Random): AsyncGenerator<Uint8Array> {
  const size = random.pick([100, 5000, 300_000, input.length]);
  const failsAt = random.chance(0.1) ? random.below(input.length) : Infinity;
  for (let at = 0; at < input.length; at += size) {
    if (at >= failsAt) throw new Error('the source fails, as it was told to');
    yield await Promise.resolve(input.subarray(at, at + (random.chance(0.01) ? 0 : size)));
  }
}
