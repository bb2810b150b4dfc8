import { statSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';

/** Below that there is nothing to gain. */
const MIN_FREE_PAGES = 16;
const MIN_LOG_BYTES = 64 << 10;
/** @see https://sqlite.org/rescode.html */
const SQLITE_FULL = 13;

/**
 * Gives the disk back what deleted rows took when that is most of the file, and what the log of changes has grown to. A file that is mostly empty is rewritten in
 * some milliseconds; where the disk is too full for that it stays as it is, until the next time.
 */
export function compactDatabase(database: DatabaseSync): void {
  const pages = numberOf(database, 'page_count');
  const freePages = numberOf(database, 'freelist_count');
  const isSparse = freePages >= MIN_FREE_PAGES && freePages > pages / 2;
  if (!isSparse && logBytes(database) < MIN_LOG_BYTES) return;
  try {
    if (isSparse) database.exec('VACUUM');
    database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  } catch (error) {
    const isFull = error instanceof Error && 'errcode' in error && error.errcode === SQLITE_FULL;
    if (!isFull) throw error;
  }
}

function numberOf(database: DatabaseSync, pragma: 'page_count' | 'freelist_count'): number {
  return Number(database.prepare(`PRAGMA ${pragma}`).get()?.[pragma]);
}

function logBytes(database: DatabaseSync): number {
  return statSync(`${database.location() ?? ''}-wal`, { throwIfNoEntry: false })?.size ?? 0;
}
