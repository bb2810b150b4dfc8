import { rmSync } from 'node:fs';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import type { Descriptor } from '@soci/image';
import { compactDatabase, type LayerNames } from '@soci/layer';
import type { Logger } from '@soci/log';
import type { ImagePlan } from './image-plan.ts';

/** What was decided for an image by an earlier process. */
export interface KeptDecision {
  readonly key: string;
  readonly reference: string;
  readonly plan: ImagePlan;
  /** Milliseconds since 1970. */
  readonly decidedAtMs: number;
  /** Layers that were asked for under it, by chain id. */
  readonly targets: readonly string[];
}

export interface DecisionStoreOptions {
  /** Path of the database file; its directory exists. */
  readonly path: string;
  /** The settings that decisions depend on: those made under other ones are forgotten. */
  readonly settings: string;
  readonly log: Logger;
}

const SCHEMA_VERSION = 1;
const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL;
  PRAGMA foreign_keys = ON;
  CREATE TABLE IF NOT EXISTS decisions (
    key TEXT PRIMARY KEY, reference TEXT NOT NULL, settings TEXT NOT NULL, plan TEXT NOT NULL, decided_at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS targets (
    key TEXT NOT NULL REFERENCES decisions (key) ON DELETE CASCADE, target TEXT NOT NULL, PRIMARY KEY (key, target)
  ) STRICT, WITHOUT ROWID;
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

type Kept = Extract<ImagePlan, { kind: 'lazy' }> | { readonly kind: 'declined'; readonly cause: 'no-index'; readonly reason: string };
/** A plan as it is written; maps as their entries. */
type WrittenPlan =
  | (Omit<Extract<Kept, { kind: 'lazy' }>, 'prefetch' | 'layers'> & {
      readonly layers: readonly LayerNames[];
      readonly prefetch: readonly (readonly [string, Descriptor])[];
    })
  | Extract<Kept, { kind: 'declined' }>;

/**
 * What was found out about images, so that a process that is killed in the middle of a pull is followed by one that does not have to ask again.
 * Kept are answers, an index or that there is none; failures are not. A power failure may forget the last ones.
 */
export class DecisionStore implements Disposable {
  readonly #database: DatabaseSync;
  readonly #settings: string;
  readonly #log: Logger;

  constructor({ path, settings, log }: DecisionStoreOptions) {
    this.#settings = settings;
    this.#log = log;
    this.#database = openOrReplace(path);
  }

  /** Those made since then under the same settings, the oldest first. All others are deleted. */
  load(sinceMs: number): readonly KeptDecision[] {
    this.#database
      .prepare('DELETE FROM decisions WHERE decided_at_ms < ? OR decided_at_ms > ? OR settings <> ?')
      .run(sinceMs, Date.now(), this.#settings);
    const targets = this.#database.prepare('SELECT target FROM targets WHERE key = ?');
    return this.#database
      .prepare('SELECT key, reference, plan, decided_at_ms FROM decisions ORDER BY decided_at_ms')
      .all()
      .map((row) => ({
        key: String(row['key']),
        reference: String(row['reference']),
        plan: fromWritten(JSON.parse(String(row['plan'])) as WrittenPlan),
        decidedAtMs: Number(row['decided_at_ms']),
        targets: targets.all(String(row['key'])).map(({ target }) => String(target)),
      }));
  }

  /** A plan that is no answer is forgotten instead. */
  put(key: string, reference: string, plan: ImagePlan): void {
    const written = toWritten(plan);
    this.delete(key);
    if (written === undefined) return;
    this.#write(
      'INSERT INTO decisions (key, reference, settings, plan, decided_at_ms) VALUES (?, ?, ?, ?, ?)',
      key,
      reference,
      this.#settings,
      JSON.stringify(written),
      Date.now(),
    );
  }

  /** Notes that a layer was asked for under a decision; nothing when that is not kept. */
  addTarget(key: string, target: string): void {
    this.#write('INSERT OR IGNORE INTO targets (key, target) SELECT key, ? FROM decisions WHERE key = ?', target, key);
  }

  delete(key: string): void {
    this.#write('DELETE FROM decisions WHERE key = ?', key);
  }

  /** Gives the disk back what is not needed any more. */
  compact(): void {
    if (this.#database.isOpen) compactDatabase(this.#database);
  }

  [Symbol.dispose](): void {
    if (this.#database.isOpen) this.#database.close();
  }

  /** A disk that is full fails nobody's pull: the next process asks again. */
  #write(sql: string, ...values: readonly SQLInputValue[]): void {
    if (!this.#database.isOpen) return;
    try {
      this.#database.prepare(sql).run(...values);
    } catch (error) {
      this.#log.warn({ error }, 'what was found out about an image cannot be kept');
    }
  }
}

/** What cannot be read is not missed: images are asked about again. */
function openOrReplace(path: string): DatabaseSync {
  try {
    return openDatabase(path);
  } catch (cause) {
    if (!isUnreadable(cause)) throw cause;
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
    return openDatabase(path);
  }
}

function openDatabase(path: string): DatabaseSync {
  const database = new DatabaseSync(path);
  try {
    if (versionOf(database) !== SCHEMA_VERSION) database.exec('DROP TABLE IF EXISTS targets; DROP TABLE IF EXISTS decisions');
    database.exec(SCHEMA);
    return database;
  } catch (cause) {
    database.close();
    throw cause;
  }
}

/** SQLITE_CORRUPT, SQLITE_NOTADB. @see https://sqlite.org/rescode.html */
function isUnreadable(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && typeof error.errcode === 'number' && [11, 26].includes(error.errcode & 0xff);
}

function versionOf(database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA user_version').get()?.['user_version']);
}

function toWritten(plan: ImagePlan): WrittenPlan | undefined {
  if (plan.kind === 'lazy') return { ...plan, prefetch: [...plan.prefetch] };
  if (plan.cause !== 'no-index') return undefined;
  return { kind: plan.kind, cause: plan.cause, reason: plan.reason };
}

function fromWritten(written: WrittenPlan): ImagePlan {
  return written.kind === 'lazy' ? { ...written, prefetch: new Map(written.prefetch) } : written;
}
