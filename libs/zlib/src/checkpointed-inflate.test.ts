import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { openNativeEngine } from './native-engine.ts';
import { PAKO_ENGINE } from './pako-engine.ts';
import { deflateFixed, deflateStored, gzipMember, makeData } from './testing/make-gzip.ts';
import { runInflate } from './testing/run-inflate.ts';

const stored = makeData(200_000, 7);
const fixed = makeData(100_000, 13);
const storedStream = deflateStored(stored, 20_000);
const fixedStream = deflateFixed(fixed, 10_000);
const plainMember = gzipMember(storedStream, stored);
const empty = Buffer.alloc(0);

/** Streams whose checkpoints follow from how they were put together; the digests were computed with zlib 1.2.13. */
const vectors = [
  {
    name: 'stored blocks',
    stream: plainMember,
    digest: '47160412fd72cfd7e2e584cb4a7514ab738ec1f47055f5673ba910c6a7f6876c',
    span: 65_536,
    want: [
      [10, 0, 0],
      [80_030, 80_000, 0],
      [160_050, 160_000, 0],
    ],
  },
  {
    name: 'a block of exactly the span size makes no checkpoint',
    stream: plainMember,
    span: 20_000,
    want: [
      [10, 0, 0],
      [40_020, 40_000, 0],
      [80_030, 80_000, 0],
      [120_040, 120_000, 0],
      [160_050, 160_000, 0],
    ],
  },
  {
    name: 'a block of one byte more does',
    stream: plainMember,
    span: 19_999,
    want: [[10, 0, 0], ...Array.from({ length: 9 }, (_, i) => [10 + 20_005 * (i + 1), 20_000 * (i + 1), 0])],
  },
  {
    name: 'blocks that end inside bytes',
    stream: gzipMember(fixedStream, fixed),
    digest: '5e101b5fa20c42a776a272d732f2995f4c82857ec416aba47422145dcf46d13d',
    span: 25_000,
    want: [
      [10, 0, 0],
      [31_655, 30_000, 3],
      [63_299, 60_000, 3],
      [94_944, 90_000, 7],
    ],
  },
  {
    name: 'two members',
    stream: Buffer.concat([plainMember, gzipMember(fixedStream, fixed, { name: 'second.tar' })]),
    digest: '3d71b1ef2e2840be7e095594c1e3913a1b09790e7b57c3aa18b514ae63cb0a20',
    span: 65_536,
    want: [
      [10, 0, 0],
      [80_030, 80_000, 0],
      [160_050, 160_000, 0],
      [231_734, 230_000, 3],
    ],
  },
  {
    name: 'an empty member first',
    stream: Buffer.concat([gzipMember(Buffer.from([3, 0]), empty), plainMember]),
    digest: '5ea60c1243f015b73960549047299ba37a85150d33268e1961f9b1e06560e78a',
    span: 65_536,
    want: [
      [10, 0, 0],
      [30, 0, 0],
      [80_050, 80_000, 0],
      [160_070, 160_000, 0],
    ],
  },
  {
    name: 'an empty block first',
    stream: gzipMember(Buffer.concat([Buffer.from([0, 0, 0, 0xff, 0xff]), storedStream]), stored),
    digest: 'd7574c0a5ac7999e8ac93b86334d9fededf05115417f317f56458c17b5aac689',
    span: 65_536,
    want: [
      [10, 0, 0],
      [15, 0, 0],
      [80_035, 80_000, 0],
      [160_055, 160_000, 0],
    ],
  },
  {
    name: 'a header with all fields',
    stream: gzipMember(storedStream, stored, { extra: 'abcde', name: 'name', comment: 'comment' }),
    digest: 'b581694908159226f6cfb31b64f36330012f3ed509f488e51493898f1543e904',
    span: 65_536,
    want: [
      [30, 0, 0],
      [80_050, 80_000, 0],
      [160_070, 160_000, 0],
    ],
  },
];

for (const engine of [openNativeEngine(), PAKO_ENGINE]) {
  describe(`CheckpointedInflate on ${engine.name}`, () => {
    for (const { name, stream, digest, span, want } of vectors) {
      for (const pieceBytes of [262_144, 16_384, 97]) {
        it(`${name}, in pieces of ${pieceBytes}`, () => {
          if (digest !== undefined) assert.equal(createHash('sha256').update(stream).digest('hex'), digest);
          const { output, checkpoints } = runInflate(engine, stream, span, pieceBytes);
          assert.deepEqual(
            checkpoints.map(({ inputOffset, outputOffset, bits }) => [inputOffset, outputOffset, bits]),
            want,
          );
          for (const { outputOffset, window } of checkpoints) {
            assert.ok(
              Buffer.concat([Buffer.alloc(32_768), output])
                .subarray(outputOffset, outputOffset + 32_768)
                .equals(window),
            );
          }
        });
      }
    }

    it('keeps more output than its buffer holds in order', () => {
      const data = Buffer.concat(Array.from({ length: 12 }, (_, i) => makeData(1_000_000 + i, 7 + i)));
      const { output, checkpoints } = runInflate(engine, gzipSync(data, { level: 1 }), 500_000);
      assert.ok(output.equals(data));
      assert.ok(checkpoints.length > 5);
      for (const { outputOffset, window } of checkpoints.slice(1))
        assert.ok(data.subarray(outputOffset - 32_768, outputOffset).equals(window));
    });

    it('skips zeros after the last member', () => {
      const padded = Buffer.concat([plainMember, Buffer.alloc(5000)]);
      for (const pieceBytes of [262_144, plainMember.length, 1000])
        assert.ok(runInflate(engine, padded, 65_536, pieceBytes).output.equals(stored));
    });

    const flipped = Buffer.from(plainMember);
    flipped[100_000] = (flipped[100_000] ?? 0) ^ 1;
    const broken = [
      { name: 'nothing', stream: empty, code: 'DATA_TRUNCATED' },
      { name: 'a cut trailer', stream: plainMember.subarray(0, -4), code: 'DATA_TRUNCATED' },
      { name: 'a cut block', stream: plainMember.subarray(0, 150_000), code: 'DATA_TRUNCATED' },
      { name: 'a cut header', stream: plainMember.subarray(0, 7), code: 'DATA_TRUNCATED' },
      { name: 'a second member without an end', stream: Buffer.concat([plainMember, plainMember.subarray(0, 12)]), code: 'DATA_TRUNCATED' },
      { name: 'a wrong checksum', stream: flipped, code: 'DATA_CORRUPT' },
      { name: 'another format', stream: Buffer.from('this is no gzip'), code: 'DATA_CORRUPT' },
      { name: 'a zlib wrapper', stream: Buffer.concat([Buffer.from([0x78, 0x9c]), storedStream]), code: 'DATA_CORRUPT' },
      { name: 'text after the end', stream: Buffer.concat([plainMember, Buffer.from('garbage!')]), code: 'TRAILING_DATA' },
      { name: 'text after zeros', stream: Buffer.concat([plainMember, Buffer.alloc(600), Buffer.from('x')]), code: 'TRAILING_DATA' },
    ];
    for (const { name, stream, code } of broken) {
      it(`refuses ${name}`, () => {
        for (const pieceBytes of [262_144, 1000])
          assert.throws(() => runInflate(engine, stream, 65_536, pieceBytes), { name: 'ZlibError', code });
      });
    }

    it('can be disposed twice', () => {
      const inflater = engine.open();
      inflater[Symbol.dispose]();
      inflater[Symbol.dispose]();
    });
  });
}
