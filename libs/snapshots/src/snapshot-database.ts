import { closeSync, constants, fchmodSync, openSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { SnapshotError } from './errors.ts';
import { LABEL } from './labels.ts';
import type { SnapshotKind } from './snapshot.ts';

/** The numbers of the API, also used on disk. */
export const KINDS = { view: 1, active: 2, committed: 3 } as const satisfies Record<SnapshotKind, number>;
export const KIND_NAMES: ReadonlyMap<number, SnapshotKind> = new Map<number, SnapshotKind>([
  [KINDS.view, 'view'],
  [KINDS.active, 'active'],
  [KINDS.committed, 'committed'],
]);

const SCHEMA_VERSION = 1;
const SCHEMA = `
  CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    parent_id INTEGER REFERENCES snapshots (id) ON DELETE RESTRICT,
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
    size_bytes INTEGER NOT NULL,
    inodes INTEGER NOT NULL,
    created_ns INTEGER NOT NULL,
    updated_ns INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX snapshots_by_parent ON snapshots (parent_id);
  CREATE TABLE labels (
    snapshot_id INTEGER NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (snapshot_id, key)
  ) STRICT, WITHOUT ROWID;
  PRAGMA user_version = ${SCHEMA_VERSION};
`;
/** Made where it is missing: a database without it is as good, but slow. */
const INDEX = `CREATE INDEX IF NOT EXISTS labels_by_image ON labels (value) WHERE key = '${LABEL.imageRef}'`;

const COLUMNS = `s.id, s.name, s.kind, s.size_bytes, s.inodes, s.created_ns, s.updated_ns, coalesce(p.name, '') AS parent`;
const FROM = 'FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent_id';
const QUERIES = {
  byName: `SELECT ${COLUMNS} ${FROM} WHERE s.name = ?`,
  byId: `SELECT ${COLUMNS} ${FROM} WHERE s.id = ?`,
  all: `SELECT ${COLUMNS} ${FROM} ORDER BY s.name`,
  ancestors: `WITH RECURSIVE chain (id, parent_id, depth) AS (
      SELECT id, parent_id, 0 FROM snapshots WHERE id = ?
      UNION ALL SELECT s.id, s.parent_id, chain.depth + 1 FROM snapshots s JOIN chain ON s.id = chain.parent_id)
    SELECT ${COLUMNS} ${FROM} JOIN chain ON chain.id = s.id WHERE chain.depth > 0 ORDER BY chain.depth`,
  ids: 'SELECT id FROM snapshots',
  hasChild: 'SELECT 1 FROM snapshots WHERE parent_id = ? LIMIT 1',
  insert: 'INSERT INTO snapshots (name, parent_id, kind, size_bytes, inodes, created_ns, updated_ns) VALUES (?, ?, ?, 0, 0, ?, ?)',
  commit: `UPDATE snapshots SET name = ?, kind = ${KINDS.committed}, parent_id = ?, size_bytes = ?, inodes = ?, created_ns = ?, updated_ns = ? WHERE id = ?`,
  touch: 'UPDATE snapshots SET updated_ns = ? WHERE id = ?',
  delete: 'DELETE FROM snapshots WHERE id = ?',
  hasImage: `SELECT 1 FROM labels WHERE key = '${LABEL.imageRef}' AND value = ? LIMIT 1`,
  labels: 'SELECT key, value FROM labels WHERE snapshot_id = ?',
  allLabels: 'SELECT snapshot_id, key, value FROM labels',
  addLabel: 'INSERT INTO labels (snapshot_id, key, value) VALUES (?, ?, ?)',
  clearLabels: 'DELETE FROM labels WHERE snapshot_id = ?',
  lastId: "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'snapshots'), 0) AS seq",
  dropLastId: "DELETE FROM sqlite_sequence WHERE name = 'snapshots'",
  setLastId: "INSERT INTO sqlite_sequence (name, seq) VALUES ('snapshots', ?)",
} as const;

export type Query = keyof typeof QUERIES;

/**
 * Opens the database, of mode 0600 and locked for as long as it is open, and makes its tables when it is new.
 * @throws {SnapshotError} `STORE_BUSY`, `STORE_FOREIGN`
 */
export function openDatabase(path: string): DatabaseSync {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    fchmodSync(fd, 0o600);
  } finally {
    closeSync(fd);
  }
  const database = new DatabaseSync(path, { enableForeignKeyConstraints: true });
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN IMMEDIATE');
    migrate(database, path);
    database.exec(INDEX);
    database.exec('COMMIT');
    return database;
  } catch (cause) {
    database.close();
    throw asStoreError(path, cause);
  }
}

function migrate(database: DatabaseSync, path: string): void {
  const version = Number(database.prepare('PRAGMA user_version').get()?.['user_version']);
  if (version === 0) database.exec(SCHEMA);
  else if (version !== SCHEMA_VERSION) {
    throw new SnapshotError('STORE_FOREIGN', `${path}: schema ${version}, this program knows ${SCHEMA_VERSION}`);
  }
}

/** SQLite's primary result codes. @see https://sqlite.org/rescode.html */
const SQLITE_BUSY = 5;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

/** A full disk as containerd is to be told of it; everything else as it is. */
export function asFailure(cause: unknown): unknown {
  return resultCode(cause) === SQLITE_FULL
    ? new SnapshotError('RESOURCE_EXHAUSTED', 'no space left for the table of snapshots', { cause })
    : cause;
}

function asStoreError(path: string, cause: unknown): unknown {
  const code = resultCode(cause);
  if (code === SQLITE_BUSY) return new SnapshotError('STORE_BUSY', `${path} is in use by another process`, { cause });
  if (code === SQLITE_NOTADB)
    return new SnapshotError('STORE_FOREIGN', `${path} is not an SQLite database: it belongs to another program`, { cause });
  return cause;
}

function resultCode(cause: unknown): number | undefined {
  return cause instanceof Error && 'errcode' in cause && typeof cause.errcode === 'number' ? cause.errcode & 0xff : undefined;
}

/** All statements, reading integers as bigint: times in nanoseconds are past 2^53. */
export function prepareAll(database: DatabaseSync): Record<Query, StatementSync> {
  const prepared = Object.entries(QUERIES).map(([name, sql]) => {
    const statement = database.prepare(sql);
    statement.setReadBigInts(true);
    return [name, statement];
  });
  return Object.fromEntries(prepared) as Record<Query, StatementSync>;
}
