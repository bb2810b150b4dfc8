import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TocColumns } from '@soci/ztoc';
import { findPrefetchSpans, type SearchableLayer } from './prefetch-search.ts';

const SPAN = 100;

/** Files of 50 bytes, one every 100 bytes. */
function layer(digest: string, names: readonly string[], sizeBytes = 50): SearchableLayer {
  const bytes = Buffer.from(names.join(''));
  const ends: number[] = [];
  let end = 0;
  for (const name of names) ends.push((end += Buffer.byteLength(name)));
  const columns = {
    count: names.length,
    bytes,
    nameStart: Uint32Array.from([0, ...ends.slice(0, -1)]),
    nameEnd: Uint32Array.from(ends),
    offsetBytes: Float64Array.from(names.map((_, i) => i * SPAN)),
    sizeBytes: Float64Array.from(names.map(() => sizeBytes)),
  } as unknown as TocColumns;
  return { digest, columns, spanOf: (offset) => Math.floor(offset / SPAN) };
}

function search(paths: readonly string[], ...layers: SearchableLayer[]): unknown {
  const { spans, missing } = findPrefetchSpans(paths, layers);
  const ranges = [...spans].map(([digest, list]) => [digest, ...list.map(({ startSpan, endSpan }) => `${startSpan}-${endSpan}`)]);
  return { ranges, missing };
}

describe('findPrefetchSpans', () => {
  it('looks into the topmost layer first', () => {
    assert.deepEqual(search(['/a/b'], layer('low', ['a/b']), layer('high', ['x', 'a/b'])), { ranges: [['high', '1-1']], missing: [] });
  });

  it('takes the first entry of a name', () => {
    assert.deepEqual(search(['b'], layer('l', ['a', 'b', 'b'])), { ranges: [['l', '1-1']], missing: [] });
  });

  it('cleans paths, and says which were not found', () => {
    assert.deepEqual(search(['//a/./x/../b/', 'no/such', '/no//such', '..'], layer('l', ['a/b'])), {
      ranges: [['l', '0-0']],
      missing: ['no/such', ''],
    });
  });

  it('counts the end of a file as inside', () => {
    assert.deepEqual(search(['b'], layer('l', ['a', 'b', 'c'], SPAN)), { ranges: [['l', '1-2']], missing: [] });
  });

  it('takes names with ./ and / only where no layer has the exact name', () => {
    assert.deepEqual(search(['a', 'b'], layer('low', ['a', './b']), layer('high', ['./a', '/c'])), {
      ranges: [['low', '0-0', '1-1']],
      missing: [],
    });
  });

  it('finds no directory, and nothing by part of a name', () => {
    assert.deepEqual(search(['d', 'fil'], layer('l', ['d/', './d/', 'file'])), { ranges: [], missing: ['d', 'fil'] });
  });

  it('compares bytes', () => {
    assert.deepEqual(search(['caf\u00e9', '__proto__'], layer('l', ['caf\u0065\u0301', 'caf\u00e9', '__proto__'])), {
      ranges: [['l', '1-1', '2-2']],
      missing: [],
    });
  });
});
