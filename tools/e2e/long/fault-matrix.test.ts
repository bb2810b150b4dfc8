import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { OBJECTS, outcomeTable } from '../fault-outcomes.ts';
import { faultSuite } from '../fault-suite.ts';
import { ROOT } from '../stack.ts';

faultSuite(OBJECTS, ['once', 'always']);

describe('the documentation', () => {
  it('has the table of what comes of each', async () => {
    const text = await readFile(join(ROOT, 'docs', 'failures.md'), 'utf8');
    assert.ok(text.includes(outcomeTable()), `docs/failures.md lacks\n${outcomeTable()}`);
  });
});
