import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { inflateSpan, PAKO_ENGINE, selectEngine, SPAN_HEADROOM_BYTES } from '@soci/zlib';
import { readGoldenZtocs } from './testing/golden.ts';
import { scanLayer } from './testing/scan.ts';
import { Ztoc } from './ztoc.ts';

const golden = readGoldenZtocs();

describe('zTOCs of the Go tool', () => {
  it('are all there', () => {
    assert.equal(golden.length, 59);
    assert.equal(new Set(golden.map(({ image }) => image)).size, 17);
  });

  for (const { image, algorithm, spanSize, layer, digest, ztoc } of golden) {
    const name = `${image}, ${layer.length} bytes, spans of ${spanSize.toString()}, ${digest.slice(7, 19)}`;

    for (const engine of [selectEngine(), PAKO_ENGINE]) {
      it(`${name}: the same bytes with ${engine.name}`, () => {
        for (const pieceBytes of [262_144, 4099]) {
          const built = scanLayer(layer, { algorithm, spanSize, engine, pieceBytes });
          assert.equal(built.digest, digest);
          assert.ok(ztoc.equals(built.bytes));
          assert.equal(built.compressedSizeBytes, layer.length);
        }
      });
    }

    it(`${name}: every span holds its part of the tar`, async () => {
      const read = Ztoc.parse(ztoc);
      const tar = algorithm === 'gzip' ? gunzipSync(layer) : layer;
      assert.equal(read.spanSize, spanSize);
      for (let span = 0; span < read.spanCount; span++) {
        const { offsetBytes, endBytes } = read.compressedRange(span);
        const compressed = layer.subarray(offsetBytes, endBytes);
        assert.equal(`sha256:${createHash('sha256').update(compressed).digest('hex')}`, read.digest(span));
        const [from = 0, to = 0] = read.spanStartBytes.subarray(span, span + 2);
        const input = Buffer.concat([Buffer.alloc(SPAN_HEADROOM_BYTES), compressed]);
        const output = await inflateSpan(input, {
          bits: read.bits(span),
          window: read.window(span),
          sizeBytes: to - from,
          kind: algorithm,
        });
        assert.ok(tar.subarray(from, to).equals(output), `span ${span}`);
        assert.equal(read.spanAt(from), span);
        if (to > from) assert.equal(read.spanAt(to - 1), span);
      }
    });

    it(`${name}: its entries lie where the tar has them`, () => {
      const tar = algorithm === 'gzip' ? gunzipSync(layer) : layer;
      const { count, headerOffsetBytes, offsetBytes } = Ztoc.parse(ztoc).columns();
      for (let i = 0; i < count; i++) {
        assert.ok((headerOffsetBytes[i] ?? 0) < (offsetBytes[i] ?? 0));
        assert.match(tar.toString('latin1', (headerOffsetBytes[i] ?? 0) + 257, (headerOffsetBytes[i] ?? 0) + 262), /^ustar$/);
      }
    });
  }
});
