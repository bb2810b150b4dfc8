import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { compactDatabase } from './compact-database.ts';

const ROW = 'x'.repeat(1_000);

describe('compactDatabase', () => {
  for (const locking of ['EXCLUSIVE', 'NORMAL']) {
    it(`gives back what deleted rows took, with ${locking} locking and prepared statements`, async (t) => {
      const directory = await mkdtemp(join(tmpdir(), 'soci-compact-'));
      t.after(() => rm(directory, { recursive: true }));
      using database = new DatabaseSync(join(directory, 'a.db'));
      database.exec(`PRAGMA locking_mode = ${locking}; PRAGMA journal_mode = WAL; CREATE TABLE a (id INTEGER PRIMARY KEY, text TEXT)`);
      const insert = database.prepare('INSERT INTO a (text) VALUES (?)');
      const count = database.prepare('SELECT count(*) AS n FROM a');
      const sizeBytes = async (): Promise<number> => {
        const sizes = await Promise.all(
          (await readdir(directory)).filter((name) => !name.endsWith('-shm')).map((name) => stat(join(directory, name))),
        );
        return sizes.reduce((sum, { size }) => sum + size, 0);
      };
      for (let n = 0; n < 3_000; n++) insert.run(ROW);
      compactDatabase(database);
      const full = await sizeBytes();
      assert.ok(full > 3_000_000 && full < 4_000_000, `${full} bytes`);
      database.exec('DELETE FROM a WHERE id > 10');
      compactDatabase(database);
      const empty = await sizeBytes();
      assert.ok(empty < 100_000, `${empty} bytes`);
      assert.equal(count.get()?.['n'], 10);
      insert.run(ROW);
      assert.equal(count.get()?.['n'], 11);
    });
  }
});
