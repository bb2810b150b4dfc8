import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';

const ROOT = join(import.meta.dirname, '..', '..');

/** Imports that must be refused: one upwards between layers, one sideways inside the format layer, one of test fixtures from a source file, one around the package name. */
const violations = [
  { name: 'a format library imports a domain library', file: 'libs/tar/src/planted.ts', source: "export * from '@soci/registry';\n" },
  { name: 'a format library imports one that it may not', file: 'libs/tar/src/planted.ts', source: "export * from '@soci/fuse';\n" },
  { name: 'a source file imports test fixtures', file: 'libs/image/src/planted.ts', source: "export * from '@soci/testing';\n" },
  {
    name: 'a library reaches into another by path',
    file: 'libs/image/src/planted.ts',
    source: "export * from '../../errors/src/index.ts';\n",
  },
];

describe('module boundaries', () => {
  for (const { name, file, source } of violations) {
    it(`finds that ${name}`, async (t) => {
      t.after(() => rm(join(ROOT, file), { force: true }));
      await writeFile(join(ROOT, file), source);
      const { code, output } = await eslint(file);
      assert.equal(code, 1, output);
      assert.match(output, /@nx\/enforce-module-boundaries/);
    });
  }

  it('is not skipped for want of a project graph', async () => {
    assert.doesNotMatch((await eslint('libs/errors/src/index.ts')).output, /rule will be skipped/);
  });
});

function eslint(file: string): Promise<{ readonly code: number; readonly output: string }> {
  return new Promise((resolve) => {
    execFile(join(ROOT, 'node_modules', '.bin', 'eslint'), [file], { cwd: ROOT }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, output: stdout + stderr });
    });
  });
}
