import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { craftCheckpoints, type Crafted, craftZtoc } from './testing/craft-ztoc.ts';
import { makeTar, someFiles } from './testing/make-layer.ts';
import { scanLayer } from './testing/scan.ts';
import { Ztoc } from './ztoc.ts';

const digests = (count: number) => Array.from({ length: count }, (_, i) => `sha256:${String(i % 10).repeat(64)}`);
const threeSpans = {
  checkpoints: craftCheckpoints([
    [10, 0, 0],
    [300, 1000, 3],
    [600, 2000, 0],
  ]),
  digests: digests(3),
};

describe('zTOC writer', () => {
  it('makes the bytes of the Go tool of two empty entries', () => {
    const empty = { name: '', type: '', offset: 0 };
    const bytes = craftZtoc({
      buildTool: 'AWS SOCI CLI',
      compressedSize: 2_000_000,
      uncompressedSize: 2_500_000,
      files: [empty, empty],
      checkpoints: new Uint8Array(65_536),
      digests: [],
      maxSpan: 3,
    });
    assert.equal(bytes.length, 65_928);
    assert.equal(createHash('sha256').update(bytes).digest('hex'), 'eba28fdf50b1b57543f57dd051b2468c1d4f57b64d2006c75aa4de1d03e6c7ec');
  });
});

describe('Ztoc: spans', () => {
  it('overlap by a byte where one starts inside it', () => {
    const ztoc = Ztoc.parse(craftZtoc(threeSpans));
    assert.deepEqual([...ztoc.spanStartBytes], [0, 1000, 2000, 4096]);
    assert.deepEqual(
      [0, 1, 2].map((span) => ztoc.compressedRange(span)),
      [
        { offsetBytes: 10, endBytes: 300 },
        { offsetBytes: 299, endBytes: 600 },
        { offsetBytes: 600, endBytes: 1000 },
      ],
    );
    assert.deepEqual(
      [0, 1, 2].map((span) => ztoc.bits(span)),
      [0, 3, 0],
    );
    assert.deepEqual(
      [0, 1, 2].map((span) => ztoc.window(span)[77]),
      [0, 1, 2],
    );
    assert.equal(ztoc.digest(1), digests(3)[1]);
    assert.deepEqual(
      [0, 999, 1000, 1999, 2000, 9999].map((offset) => ztoc.spanAt(offset)),
      [0, 0, 1, 1, 2, 2],
    );
    assert.throws(() => ztoc.bits(3), RangeError);
    assert.throws(() => ztoc.window(-1), RangeError);
  });

  it('has its first checkpoint implied in version 1', () => {
    const places = [
      [10, 0, 0],
      [300, 1000, 3],
    ] as const;
    const ztoc = Ztoc.parse(craftZtoc({ checkpoints: craftCheckpoints(places, { version: 1 }), digests: digests(2) }));
    assert.deepEqual([ztoc.spanCount, ztoc.compressedRange(0).offsetBytes, ztoc.window(0)[0], ztoc.window(1)[0]], [2, 10, 0, 1]);
  });

  it('may begin after the end of the tar', () => {
    assert.equal(Ztoc.parse(craftZtoc({ ...threeSpans, uncompressedSize: 1500 })).streamEndBytes, 2000);
  });

  it('may be empty where that is asked for', () => {
    const crafted = craftZtoc({
      checkpoints: craftCheckpoints([
        [10, 0, 0],
        [30, 0, 0],
        [300, 1000, 0],
      ]),
      digests: digests(3),
    });
    const ztoc = Ztoc.parse(crafted, { allowEmptySpans: true });
    assert.deepEqual([...ztoc.spanStartBytes], [0, 0, 1000, 4096]);
    assert.deepEqual(
      [0, 999, 1000].map((offset) => ztoc.spanAt(offset)),
      [1, 1, 2],
    );
  });

  it('are cut evenly where nothing is compressed', async () => {
    const tar = await makeTar(someFiles());
    const ztoc = Ztoc.parse(scanLayer(tar, { algorithm: 'uncompressed', spanSize: 100_000n }).bytes);
    assert.equal(ztoc.spanCount, Math.ceil(tar.length / 100_000));
    assert.equal(ztoc.streamEndBytes, tar.length);
    assert.deepEqual(ztoc.compressedRange(1), { offsetBytes: 100_000, endBytes: 200_000 });
  });

  it('are none where the layer is empty', () => {
    const ztoc = Ztoc.parse(scanLayer(new Uint8Array(0), { algorithm: 'uncompressed' }).bytes);
    assert.deepEqual([ztoc.spanCount, ztoc.streamEndBytes, ztoc.columns().count], [0, 0, 0]);
  });
});

describe('Ztoc.parse on bytes that lie', () => {
  const cases: { name: string; crafted: Crafted; code?: string }[] = [
    { name: 'another algorithm', crafted: { algorithm: 7 }, code: 'UNSUPPORTED' },
    { name: 'no checkpoints', crafted: { checkpoints: craftCheckpoints([]), digests: [] } },
    { name: 'an empty blob', crafted: { checkpoints: new Uint8Array(0) } },
    { name: 'more checkpoints than there are', crafted: { checkpoints: craftCheckpoints([[10, 0, 0]], { count: 255 }) } },
    { name: 'a negative count', crafted: { checkpoints: craftCheckpoints([], { count: -1 }) } },
    { name: 'a digest too few', crafted: { ...threeSpans, digests: digests(2) } },
    { name: 'another last span', crafted: { ...threeSpans, maxSpan: 3 } },
    { name: 'a digest that is none', crafted: { digests: ['sha256:zz'] } },
    {
      name: 'spans that go back in the layer',
      crafted: {
        checkpoints: craftCheckpoints([
          [10, 0, 0],
          [300, 1, 0],
          [1, 2, 0],
        ]),
        digests: digests(3),
      },
    },
    {
      name: 'spans that go back in the tar',
      crafted: {
        checkpoints: craftCheckpoints([
          [10, 0, 0],
          [300, 1000, 0],
          [600, 999, 0],
        ]),
        digests: digests(3),
      },
    },
    {
      name: 'an empty span',
      crafted: {
        checkpoints: craftCheckpoints([
          [10, 0, 0],
          [30, 0, 0],
        ]),
        digests: digests(2),
      },
    },
    {
      name: 'a span past the end',
      crafted: {
        checkpoints: craftCheckpoints([
          [10, 0, 0],
          [1000, 5, 0],
        ]),
        digests: digests(2),
      },
    },
    { name: 'a first span that starts late', crafted: { checkpoints: craftCheckpoints([[10, 5, 0]]) } },
    { name: 'nine bits', crafted: { checkpoints: craftCheckpoints([[10, 0, 9]]) } },
    { name: 'bits before the first byte', crafted: { checkpoints: craftCheckpoints([[0, 0, 1]]) } },
    {
      name: 'an offset beyond 2^53',
      crafted: {
        checkpoints: craftCheckpoints([
          [10, 0, 0],
          [2 ** 60, 2 ** 60, 0],
        ]),
        digests: digests(2),
      },
    },
    { name: 'a negative size', crafted: { compressedSize: -1 } },
    { name: 'a tar blob without a span size', crafted: { algorithm: 2, checkpoints: new Uint8Array(64) } },
  ];
  for (const { name, crafted, code = 'INVALID' } of cases) {
    it(`refuses ${name}`, () => assert.throws(() => Ztoc.parse(craftZtoc(crafted)), { name: 'ZtocError', code }));
  }

  it('refuses text', () => {
    for (const text of ['', 'x', 'not a flatbuffer at all, but long enough to look into']) {
      assert.throws(() => Ztoc.parse(Buffer.from(text)), { name: 'ZtocError', code: 'INVALID' });
    }
  });

  it('gives an error or a zTOC for any damage, never anything else', async () => {
    const layer = gzipSync(await makeTar(someFiles()));
    const good = scanLayer(layer, { spanSize: 1n << 30n }).bytes;
    let state = 1;
    const random = (below: number) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    let survivors = 0;
    for (let round = 0; round < 2000; round++) {
      const bad = Buffer.from(round % 10 === 0 ? good.subarray(0, random(good.length)) : good);
      for (let n = 0; n < 4 && bad.length > 0; n++) {
        const at = random(2) === 0 ? random(600) : random(bad.length);
        if (at < bad.length) bad[at] = random(256);
      }
      try {
        const columns = Ztoc.parse(bad).columns();
        for (let i = 0; i < columns.count; i++) if ((columns.xattrCount[i] ?? 0) > 0) columns.xattrs(i);
        survivors++;
      } catch (error) {
        assert.equal((error as Error).name, 'ZtocError', String(error));
      }
    }
    assert.ok(survivors > 100 && survivors < 1900, `${survivors} survived`);
  });
});
