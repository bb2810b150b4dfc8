import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { constants, deflateRawSync, gzipSync } from 'node:zlib';
import { SPAN_HEADROOM_BYTES } from './align-bits.ts';
import { inflateSpan } from './inflate-span.ts';
import { selectEngine } from './select-engine.ts';
import { deflateFixed, deflateStored, gzipMember, makeData } from './testing/make-gzip.ts';
import { runInflate } from './testing/run-inflate.ts';

const ZERO_WINDOW = new Uint8Array(32_768);
const start = { bits: 0, window: ZERO_WINDOW, kind: 'gzip' as const };

const withHeadroom = (bytes: Uint8Array) => Buffer.concat([Buffer.alloc(SPAN_HEADROOM_BYTES), bytes]);

/** Text with blocks of all kinds: noise is stored, the rest is compressed. */
function mixedData(length: number): Buffer {
  const data = makeData(length, 11);
  let state = 1;
  for (let at = 0; at < length; at++) {
    if (at % 30_000 > 20_000) continue;
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    data[at] = at % 30_000 < 10_000 ? state >>> 24 : 97 + ((state >>> 24) % 7);
  }
  return data;
}

async function assertAllSpans(stream: Buffer, plain: Buffer, spanSizeBytes: number): Promise<Set<number>> {
  const { checkpoints } = runInflate(selectEngine(), stream, spanSizeBytes);
  const bits = new Set<number>();
  for (const [i, point] of checkpoints.entries()) {
    const next = checkpoints[i + 1] ?? { inputOffset: stream.length, outputOffset: plain.length };
    const input = withHeadroom(stream.subarray(point.inputOffset - (point.bits === 0 ? 0 : 1), next.inputOffset));
    const sizeBytes = next.outputOffset - point.outputOffset;
    const output = await inflateSpan(input, { bits: point.bits, window: point.window, sizeBytes, kind: 'gzip' });
    assert.equal(output.length, sizeBytes);
    assert.ok(plain.subarray(point.outputOffset, next.outputOffset).equals(output), `span ${i}`);
    bits.add(point.bits);
  }
  return bits;
}

describe('inflateSpan', () => {
  it('decodes spans that start at any bit, also before stored blocks', async () => {
    const plain = mixedData(600_000);
    const bits = await assertAllSpans(gzipSync(plain, { memLevel: 1 }), plain, 3000);
    assert.deepEqual([...bits].sort(), [0, 1, 2, 3, 4, 5, 6, 7]);
  });

  it('decodes spans across the borders of members', async () => {
    const parts = Array.from({ length: 20 }, (_, i) => mixedData(1 + i * 4321));
    const stream = Buffer.concat(
      parts.map((part, i) => (i % 3 === 0 ? gzipMember(deflateFixed(part, 5000), part, { name: `part-${i}` }) : gzipSync(part))),
    );
    for (const span of [1, 10_000, 100_000, 1 << 20]) await assertAllSpans(stream, Buffer.concat(parts), span);
  });

  it('stops at the wanted size, even inside a block', async () => {
    const plain = mixedData(200_000);
    const output = await inflateSpan(withHeadroom(deflateRawSync(plain)), { ...start, sizeBytes: 12_345 });
    assert.ok(plain.subarray(0, 12_345).equals(output));
  });

  it('takes a part of an uncompressed span as it is', async () => {
    const input = withHeadroom(makeData(1000, 3));
    const output = await inflateSpan(input, { ...start, kind: 'uncompressed', window: new Uint8Array(0), sizeBytes: 900 });
    assert.ok(makeData(1000, 3).subarray(0, 900).equals(output));
    await assert.rejects(inflateSpan(input, { ...start, kind: 'uncompressed', sizeBytes: 1001 }), { code: 'DATA_TRUNCATED' });
  });

  it('gives nothing of an empty span', async () => {
    assert.equal((await inflateSpan(withHeadroom(Buffer.alloc(0)), { ...start, sizeBytes: 0 })).length, 0);
  });
});

describe('inflateSpan on bytes that lie', () => {
  const bomb = deflateRawSync(Buffer.alloc(50_000_000), { finishFlush: constants.Z_SYNC_FLUSH });

  it('never makes more than was asked for', async () => {
    const output = await inflateSpan(withHeadroom(bomb), { ...start, sizeBytes: 100_000 });
    assert.equal(output.length, 100_000);
    assert.ok(output.buffer.byteLength <= 1 << 20);
  });

  it('refuses sizes that deflate cannot reach, before any memory is taken', async () => {
    await assert.rejects(inflateSpan(withHeadroom(bomb), { ...start, sizeBytes: 2 ** 45 }), { code: 'DATA_TRUNCATED' });
  });

  const stored = makeData(50_000, 7);
  const cases = [
    { name: 'a span that is too short', input: deflateStored(stored, 10_000).subarray(0, 30_000), size: 50_000, code: 'DATA_TRUNCATED' },
    { name: 'a stream that ends early', input: deflateRawSync(stored.subarray(0, 1000)), size: 1001, code: 'DATA_TRUNCATED' },
    { name: 'a member that is too short', input: gzipSync(stored).subarray(10), size: 60_000, code: 'DATA_TRUNCATED' },
    { name: 'bytes that are no deflate', input: Buffer.alloc(1000, 0x55), size: 1000, code: 'DATA_CORRUPT' },
    {
      name: 'bytes after a member that are none',
      input: Buffer.concat([gzipSync(stored).subarray(10), Buffer.alloc(100, 0x55)]),
      size: 60_000,
      code: 'DATA_CORRUPT',
    },
    { name: 'a negative size', input: deflateRawSync(stored), size: -1, code: 'INVALID_ARGUMENT' },
    { name: 'half a byte', input: deflateRawSync(stored), size: 0.5, code: 'INVALID_ARGUMENT' },
  ];
  for (const { name, input, size, code } of cases) {
    it(`refuses ${name}`, async () => {
      await assert.rejects(inflateSpan(withHeadroom(input), { ...start, sizeBytes: size }), { name: 'ZlibError', code });
    });
  }

  it('refuses bits and windows that are none', async () => {
    const input = withHeadroom(deflateRawSync(stored));
    await assert.rejects(inflateSpan(input, { ...start, bits: 8, sizeBytes: 1 }), { code: 'INVALID_ARGUMENT' });
    await assert.rejects(inflateSpan(input, { ...start, window: new Uint8Array(1), sizeBytes: 1 }), { code: 'INVALID_ARGUMENT' });
    await assert.rejects(inflateSpan(Buffer.alloc(3), { ...start, sizeBytes: 1 }), { code: 'INVALID_ARGUMENT' });
  });
});
