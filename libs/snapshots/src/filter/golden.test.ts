import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { parseFilters, type Fields } from './filter.ts';
import { compileGoRegexp } from './go-regexp.ts';

type Verdict = 'true' | 'false' | 'error';

interface Golden {
  readonly filters: readonly (readonly [filter: string, verdict: Verdict])[];
  readonly expressions: readonly (readonly [expression: string, text: string, verdict: Verdict])[];
}

const golden = JSON.parse(await readFile(new URL('../../testdata/filters.json', import.meta.url), 'utf8')) as Golden;
const labels = new Map([
  ['plain', '1'],
  ['with space', 'a "quoted" value'],
  ['dotted.key', 'x'],
]);
const fields: Fields = ([field, ...key]) => {
  if (field === 'name') return 'default/3/layer';
  return field === 'labels' ? labels.get(key.join('.')) : undefined;
};

function verdict(judge: () => boolean): Verdict {
  try {
    return judge() ? 'true' : 'false';
  } catch {
    return 'error';
  }
}

describe('verdicts of the Go implementation', () => {
  it('are ours for filters', () => {
    assert.ok(golden.filters.length > 300);
    for (const [filter, want] of golden.filters)
      assert.equal(
        verdict(() => parseFilters([filter])(fields)),
        want,
        JSON.stringify(filter),
      );
  });

  it('are ours for regular expressions', () => {
    assert.ok(golden.expressions.length > 600);
    for (const [expression, text, want] of golden.expressions) {
      assert.equal(
        verdict(() => compileGoRegexp(expression).test(text)),
        want,
        JSON.stringify([expression, text]),
      );
    }
  });
});
