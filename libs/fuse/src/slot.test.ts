import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkSlot, hasRange, MAX_SLOT, type Slot } from './slot.ts';

function shared(starts: readonly number[]): Float64Array {
  const array = new Float64Array(new SharedArrayBuffer(starts.length * 8));
  array.set(starts);
  return array;
}

const good: Slot = {
  slot: 1,
  namesFd: 3,
  namesSizeBytes: 512,
  bytesFd: 4,
  bytesSizeBytes: 1024,
  dataSizeBytes: 900,
  spanStartBytes: shared([0, 300, 900]),
  present: new Int32Array(new SharedArrayBuffer(4)),
};

const bad: readonly { readonly name: string; readonly change: Partial<Slot> }[] = [
  { name: 'number 0', change: { slot: 0 } },
  { name: 'a number that is none', change: { slot: 1.5 } },
  { name: 'too large a number', change: { slot: MAX_SLOT + 1 } },
  { name: 'a size off the block', change: { bytesSizeBytes: 1000 } },
  { name: 'a negative size', change: { namesSizeBytes: -1 } },
  { name: 'a size that is none', change: { dataSizeBytes: NaN } },
  { name: 'data past the file', change: { bytesSizeBytes: 512 } },
  { name: 'spans that end early', change: { spanStartBytes: shared([0, 300, 800]) } },
  { name: 'spans that begin late', change: { spanStartBytes: shared([1, 300, 900]) } },
  { name: 'spans out of order', change: { spanStartBytes: shared([0, 300, 200, 900]) } },
  { name: 'no spans at all', change: { spanStartBytes: shared([]) } },
  { name: 'a bitmap that is too small', change: { present: new Int32Array(new SharedArrayBuffer(0)) } },
  { name: 'a bitmap of its own', change: { present: new Int32Array(1) } },
];

describe('checkSlot', () => {
  it('takes a good one, and an empty layer', () => {
    checkSlot(good);
    checkSlot({ ...good, dataSizeBytes: 0, bytesSizeBytes: 0, spanStartBytes: shared([0]) });
  });
  for (const { name, change } of bad) {
    it(`refuses ${name}`, () => assert.throws(() => checkSlot({ ...good, ...change }), { code: 'SLOT_INVALID' }));
  }
});

describe('hasRange', () => {
  it('looks at every span of the range, over words of the bitmap', () => {
    const spans = 70;
    const present = new Int32Array(new SharedArrayBuffer(12)).fill(-1);
    present[1] = ~(1 << 31); // span 63 is missing
    const slot = {
      ...good,
      present,
      dataSizeBytes: spans * 10,
      spanStartBytes: shared(Array.from({ length: spans + 1 }, (_, i) => i * 10)),
    };
    const missing = Array.from({ length: spans }, (_, i) => i).filter((i) => !hasRange(slot, i * 10, 10));
    assert.deepEqual(missing, [63]);
    assert.ok(hasRange(slot, 0, 630));
    assert.ok(!hasRange(slot, 0, 631));
    assert.ok(!hasRange(slot, 639, 1));
    assert.ok(hasRange(slot, 640, 60));
  });
});
