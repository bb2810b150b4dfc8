import { chmodSync, closeSync, openSync } from 'node:fs';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { hasCode } from '@soci/errors';
import { IndexError } from './errors.ts';

export type ArtifactKind = 'index' | 'ztoc' | 'prefetch';

/** One artifact that was built here, and what it was built for. */
export interface Artifact {
  readonly digest: string;
  readonly kind: ArtifactKind;
  readonly sizeBytes: number;
  /** What it belongs to: an index to an image manifest (a v2 index to the converted one), a zTOC or a prefetch artifact to a layer. */
  readonly originalDigest: string;
  /** An index's image: the digest of its manifest or of its image index (v2: of the converted one). Empty otherwise. */
  readonly imageDigest: string;
  /** An index's platform, `os/arch[/variant]` as it was asked for. Empty otherwise. */
  readonly platform: string;
  /** Digest that the artifact was built from; empty for prefetch artifacts. */
  readonly location: string;
  readonly mediaType: string;
  /** Which version of index; empty otherwise. */
  readonly artifactType: string;
  readonly createdAt: Date;
  /** What a zTOC was built with; 0 otherwise. May be any int64. */
  readonly spanSizeBytes: bigint;
}

export interface ArtifactFilter {
  readonly kind?: ArtifactKind;
  readonly digest?: string;
  readonly originalDigest?: string;
  readonly imageDigest?: string;
  readonly platform?: string;
  readonly spanSizeBytes?: bigint;
}

/** The file's name in the root directory. The Go tool's is `artifacts.db`, which is never touched. */
export const ARTIFACTS_FILE = 'artifacts.sqlite';

const SCHEMA_VERSION = 1;
const BUSY_TIMEOUT_MS = 10_000;

const SCHEMA = `
  CREATE TABLE artifacts (
    digest TEXT NOT NULL,
    original_digest TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('index', 'ztoc', 'prefetch')),
    size INTEGER NOT NULL CHECK (size >= 0),
    image_digest TEXT NOT NULL,
    platform TEXT NOT NULL,
    location TEXT NOT NULL,
    media_type TEXT NOT NULL,
    artifact_type TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    span_size INTEGER NOT NULL,
    PRIMARY KEY (digest, original_digest)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX artifacts_by_original ON artifacts (original_digest, kind);
  CREATE INDEX artifacts_by_image ON artifacts (image_digest) WHERE image_digest <> '';
`;

const COLUMN: Readonly<Record<keyof ArtifactFilter, string>> = {
  kind: 'kind',
  digest: 'digest',
  originalDigest: 'original_digest',
  imageDigest: 'image_digest',
  platform: 'platform',
  spanSizeBytes: 'span_size',
};

/**
 * What `soci` built, for its lists and for `push`: a sqlite file, mode 0600. Several processes may use it at once; one that finds it busy waits up to 10 s.
 * An index is kept once; a zTOC or a prefetch artifact once for each layer it serves.
 */
export class ArtifactsDb implements Disposable {
  readonly #db: DatabaseSync;

  private constructor(db: DatabaseSync) {
    this.#db = db;
  }

  /**
   * Opens the file, and creates it when it is not there (its folder must be).
   *
   * @throws {IndexError} `DATABASE_UNUSABLE` when it is no such file, a newer version's, or not accessible
   */
  static open(path: string): ArtifactsDb {
    let db: DatabaseSync | undefined;
    try {
      createPrivately(path);
      db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
      migrate(db, path);
      return new ArtifactsDb(db);
    } catch (cause) {
      db?.close();
      if (cause instanceof IndexError) throw cause;
      throw new IndexError('DATABASE_UNUSABLE', `artifacts database ${path}`, { cause });
    }
  }

  /** Adds an artifact, or replaces what is known of it. */
  put(artifact: Artifact): void {
    transaction(this.#db, () => {
      if (artifact.kind === 'index') this.#db.prepare('DELETE FROM artifacts WHERE digest = ?').run(artifact.digest);
      this.#db
        .prepare('INSERT OR REPLACE INTO artifacts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
        .run(
          artifact.digest,
          artifact.originalDigest,
          artifact.kind,
          artifact.sizeBytes,
          artifact.imageDigest,
          artifact.platform,
          artifact.location,
          artifact.mediaType,
          artifact.artifactType,
          artifact.createdAt.getTime(),
          artifact.spanSizeBytes,
        );
    });
  }

  /** Those that match all of the filter, in the order of their digests. */
  list(filter: ArtifactFilter = {}): readonly Artifact[] {
    const terms = (Object.keys(COLUMN) as (keyof ArtifactFilter)[]).flatMap((key) => {
      const value = filter[key];
      return value === undefined ? [] : [{ sql: `${COLUMN[key]} = ?`, value }];
    });
    const where = terms.length === 0 ? '' : `WHERE ${terms.map(({ sql }) => sql).join(' AND ')}`;
    const statement = this.#db.prepare(`SELECT * FROM artifacts ${where} ORDER BY digest, original_digest`);
    statement.setReadBigInts(true);
    return statement.all(...terms.map(({ value }) => value)).map(toArtifact);
  }

  get(digest: string): Artifact | undefined {
    return this.list({ digest })[0];
  }

  /** A zTOC of this layer that was built with this span size. */
  findZtoc(layerDigest: string, spanSizeBytes: bigint): Artifact | undefined {
    return this.list({ kind: 'ztoc', originalDigest: layerDigest, spanSizeBytes })[0];
  }

  /** Forgets an artifact, for all layers it serves; whether it was known. */
  delete(digest: string): boolean {
    return Number(this.#db.prepare('DELETE FROM artifacts WHERE digest = ?').run(digest).changes) > 0;
  }

  [Symbol.dispose](): void {
    if (this.#db.isOpen) this.#db.close();
  }
}

function createPrivately(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
    return;
  }
  chmodSync(path, 0o600);
}

function migrate(db: DatabaseSync, path: string): void {
  if (version(db) === SCHEMA_VERSION) return;
  transaction(db, () => {
    const found = version(db); // another process may have been faster
    if (found > SCHEMA_VERSION) {
      throw new IndexError('DATABASE_UNUSABLE', `artifacts database ${path} was made by a newer version (schema ${found})`);
    }
    if (found === SCHEMA_VERSION) return;
    db.exec(SCHEMA);
    db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
  });
}

function version(db: DatabaseSync): number {
  return Number(db.prepare('PRAGMA user_version').get()?.user_version ?? 0);
}

/** IMMEDIATE: the write lock is taken at once, so that the busy timeout applies and nothing read inside goes stale. */
function transaction(db: DatabaseSync, work: () => void): void {
  db.exec('BEGIN IMMEDIATE');
  try {
    work();
    db.exec('COMMIT');
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

function toArtifact(row: Record<string, SQLOutputValue>): Artifact {
  const text = (column: string): string => String(row[column]);
  return {
    digest: text('digest'),
    kind: text('kind') as ArtifactKind,
    sizeBytes: Number(row.size),
    originalDigest: text('original_digest'),
    imageDigest: text('image_digest'),
    platform: text('platform'),
    location: text('location'),
    mediaType: text('media_type'),
    artifactType: text('artifact_type'),
    createdAt: new Date(Number(row.created_ms)),
    spanSizeBytes: BigInt(text('span_size')),
  };
}
