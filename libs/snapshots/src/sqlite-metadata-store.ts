import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from 'node:sqlite';
import { compactDatabase } from '@soci/layer';
import { SnapshotError } from './errors.ts';
import { normalizeLabels, toLabels } from './labels.ts';
import type { CommitRequest, MetadataStore, NewSnapshot } from './metadata-store.ts';
import { asFailure, KIND_NAMES, KINDS, openDatabase, prepareAll, type Query } from './snapshot-database.ts';
import { NO_USAGE, type Labels, type SnapshotRecord } from './snapshot.ts';
import { wallClock, type NanosecondClock } from './wall-clock.ts';

/** containerd's names are about a hundred bytes. */
const MAX_NAME_BYTES = 4096;

type Row = Record<string, SQLOutputValue>;

export interface SqliteMetadataStoreOptions {
  /** Path of the database file; its directory exists. */
  readonly path: string;
  readonly now?: NanosecondClock;
}

/**
 * Snapshot metadata in an SQLite file of mode 0600, locked for as long as it is open: a second process is refused at once.
 * A call has been written to disk when it returns, as with containerd's own store.
 */
export class SqliteMetadataStore implements MetadataStore {
  readonly #database: DatabaseSync;
  readonly #statements: Record<Query, StatementSync>;
  readonly #now: NanosecondClock;

  /** @throws {SnapshotError} `STORE_BUSY` when another process has it open; `STORE_FOREIGN` when the file is not one of ours */
  constructor({ path, now = wallClock() }: SqliteMetadataStoreOptions) {
    this.#database = openDatabase(path);
    this.#now = now;
    try {
      this.#statements = prepareAll(this.#database);
    } catch (cause) {
      this.#database.close();
      throw cause;
    }
  }

  get(name: string): SnapshotRecord | undefined {
    return this.#one('byName', name);
  }

  getById(id: number): SnapshotRecord | undefined {
    return this.#one('byId', id);
  }

  create({ key, kind, parent, labels }: NewSnapshot, place: (id: number) => void): SnapshotRecord {
    assertName(key);
    const stored = normalizeLabels(labels);
    return this.#transaction(() => {
      const parentId = parent === '' ? null : this.#parentId(parent, 'INVALID_ARGUMENT');
      this.#assertFree(key);
      const nowNs = this.#now();
      const id = Number(this.#statements.insert.run(key, parentId, KINDS[kind], nowNs, nowNs).lastInsertRowid);
      this.#writeLabels(id, stored);
      place(id);
      return { id, name: key, parent, kind, labels: stored, createdNs: nowNs, updatedNs: nowNs, usage: NO_USAGE };
    });
  }

  commit({ key, name, labels, usage, parent }: CommitRequest): SnapshotRecord {
    assertName(name);
    const stored = normalizeLabels(labels);
    return this.#transaction(() => {
      this.#assertFree(name);
      const active = this.#require(key);
      if (active.kind !== 'active') throw new SnapshotError('FAILED_PRECONDITION', `snapshot ${key} is ${active.kind}, not active`);
      if (parent !== '' && active.parent !== '' && parent !== active.parent) {
        throw new SnapshotError('INVALID_ARGUMENT', `snapshot ${key} stands on ${active.parent}: it cannot be committed on ${parent}`);
      }
      const newParent = active.parent || parent;
      const parentId = newParent === '' ? null : this.#parentId(newParent, 'FAILED_PRECONDITION');
      const nowNs = this.#now();
      this.#statements.commit.run(name, parentId, usage.sizeBytes, usage.inodes, nowNs, nowNs, active.id);
      this.#statements.clearLabels.run(active.id);
      this.#writeLabels(active.id, stored);
      return { id: active.id, name, parent: newParent, kind: 'committed', labels: stored, createdNs: nowNs, updatedNs: nowNs, usage };
    });
  }

  remove(name: string): SnapshotRecord {
    return this.#transaction(() => {
      const record = this.#require(name);
      if (this.#statements.hasChild.get(record.id) !== undefined) {
        throw new SnapshotError('FAILED_PRECONDITION', `cannot remove snapshot ${name}: another one stands on it`);
      }
      this.#statements.delete.run(record.id);
      return record;
    });
  }

  updateLabels(name: string, change: (labels: Labels) => Labels): SnapshotRecord {
    return this.#transaction(() => {
      const record = this.#require(name);
      const labels = normalizeLabels(change(record.labels));
      const updatedNs = this.#now();
      this.#statements.touch.run(updatedNs, record.id);
      this.#statements.clearLabels.run(record.id);
      this.#writeLabels(record.id, labels);
      return { ...record, labels, updatedNs };
    });
  }

  list(): readonly SnapshotRecord[] {
    const labels = new Map<number, [string, string][]>();
    for (const row of this.#statements.allLabels.all()) {
      const id = Number(row['snapshot_id']);
      const entry: [string, string] = [text(row, 'key'), text(row, 'value')];
      const entries = labels.get(id);
      if (entries === undefined) labels.set(id, [entry]);
      else entries.push(entry);
    }
    return this.#statements.all.all().map((row) => toRecord(row, toLabels(labels.get(Number(row['id'])) ?? [])));
  }

  hasImage(reference: string): boolean {
    return this.#statements.hasImage.get(reference) !== undefined;
  }

  ancestors(id: number): readonly SnapshotRecord[] {
    return this.#statements.ancestors.all(id).map((row) => toRecord(row, this.#labels(Number(row['id']))));
  }

  ids(): ReadonlySet<number> {
    return new Set(this.#statements.ids.all().map((row) => Number(row['id'])));
  }

  reserveIds(upTo: number): void {
    this.#transaction(() => {
      if (Number(this.#statements.lastId.get()?.['seq']) >= upTo) return;
      this.#statements.dropLastId.run();
      this.#statements.setLastId.run(upTo);
    });
  }

  compact(): void {
    compactDatabase(this.#database);
  }

  [Symbol.dispose](): void {
    if (this.#database.isOpen) this.#database.close();
  }

  #transaction<T>(work: () => T): T {
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      const result = work();
      this.#database.exec('COMMIT');
      return result;
    } catch (cause) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw asFailure(cause);
    }
  }

  #one(query: 'byName' | 'byId', value: SQLInputValue): SnapshotRecord | undefined {
    const row = this.#statements[query].get(value);
    return row && toRecord(row, this.#labels(Number(row['id'])));
  }

  #require(name: string): SnapshotRecord {
    const record = this.get(name);
    if (record === undefined) throw new SnapshotError('NOT_FOUND', `snapshot ${name} does not exist`);
    return record;
  }

  #parentId(name: string, codeWhenNotCommitted: 'INVALID_ARGUMENT' | 'FAILED_PRECONDITION'): number {
    const parent = this.get(name);
    if (parent === undefined) throw new SnapshotError('NOT_FOUND', `parent snapshot ${name} does not exist`);
    if (parent.kind !== 'committed')
      throw new SnapshotError(codeWhenNotCommitted, `parent snapshot ${name} is ${parent.kind}, not committed`);
    return parent.id;
  }

  #assertFree(name: string): void {
    if (this.get(name) !== undefined) throw new SnapshotError('ALREADY_EXISTS', `snapshot ${name} exists already`);
  }

  #labels(id: number): Labels {
    return toLabels(this.#statements.labels.all(id).map((row) => [text(row, 'key'), text(row, 'value')] as const));
  }

  #writeLabels(id: number, labels: Labels): void {
    for (const [key, value] of Object.entries(labels)) this.#statements.addLabel.run(id, key, value);
  }
}

function assertName(name: string): void {
  if (name === '') throw new SnapshotError('INVALID_ARGUMENT', 'a snapshot needs a name');
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) {
    throw new SnapshotError('INVALID_ARGUMENT', `snapshot ${name.slice(0, 100)}: its name is longer than ${MAX_NAME_BYTES} bytes`);
  }
}

function toRecord(row: Row, labels: Labels): SnapshotRecord {
  const kind = KIND_NAMES.get(Number(row['kind']));
  if (kind === undefined) throw new SnapshotError('STORE_CORRUPT', `snapshot ${String(row['id'])}: unknown kind ${String(row['kind'])}`);
  return {
    id: Number(row['id']),
    name: text(row, 'name'),
    parent: text(row, 'parent'),
    kind,
    labels,
    createdNs: bigint(row, 'created_ns'),
    updatedNs: bigint(row, 'updated_ns'),
    usage: { sizeBytes: Number(row['size_bytes']), inodes: Number(row['inodes']) },
  };
}

function text(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== 'string') throw new SnapshotError('STORE_CORRUPT', `column ${column} holds no text`);
  return value;
}

function bigint(row: Row, column: string): bigint {
  const value = row[column];
  if (typeof value !== 'bigint') throw new SnapshotError('STORE_CORRUPT', `column ${column} holds no integer`);
  return value;
}
