import type { DatabaseSync } from 'node:sqlite';

/** Who needs an artifact: the key of a layer, or the reference of an image. */
export type ArtifactUser = string;

/** Longer than it takes from the moment that an artifact is asked for until its layer or image is here, or is given up. */
const AWAITED_MS = 15 * 60_000;

/** A row stays until its artifact is known to be given up: a process that is killed before that leaves the rest to the next one. */
export const ARTIFACT_USES_SCHEMA = `
  CREATE TABLE IF NOT EXISTS artifact_uses (
    digest TEXT NOT NULL, user TEXT NOT NULL, noted_at_ms INTEGER NOT NULL, PRIMARY KEY (digest, user)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS artifact_uses_by_user ON artifact_uses (user);
`;

const UNUSED = `
  SELECT DISTINCT digest FROM artifact_uses AS any_use WHERE NOT EXISTS (
    SELECT 1 FROM artifact_uses AS use WHERE use.digest = any_use.digest AND (
      use.noted_at_ms BETWEEN ?1 AND ?2
      OR EXISTS (SELECT 1 FROM prepared WHERE layer = use.user)
      OR EXISTS (SELECT 1 FROM slots WHERE layer = use.user)
      OR EXISTS (SELECT 1 FROM sources WHERE reference = use.user)
    )
  )`;

/** Which artifacts, indexes and zTOCs, were fetched for which layers and images. Those whose users are all gone need not be kept by whoever fetched them. */
export class ArtifactUses {
  readonly #db: DatabaseSync;
  readonly #now: () => number;

  constructor(db: DatabaseSync, now: () => number) {
    this.#db = db;
    this.#now = now;
  }

  /** Before the artifact is asked for. */
  note(digest: string, user: ArtifactUser): void {
    this.#db.prepare('INSERT OR REPLACE INTO artifact_uses (digest, user, noted_at_ms) VALUES (?, ?, ?)').run(digest, user, this.#now());
  }

  /** The user was removed: it is not waited for any more. */
  end(user: ArtifactUser): void {
    this.#db.prepare('UPDATE artifact_uses SET noted_at_ms = 0 WHERE user = ?').run(user);
  }

  /** Artifacts that nobody needs, the first so many of them. */
  unused(limit: number): readonly string[] {
    return this.#db
      .prepare(`${UNUSED} LIMIT ?3`)
      .all(...this.#awaited(), limit)
      .map(({ digest }) => String(digest));
  }

  /** They were given up; those that somebody came to need meanwhile stay noted. */
  forget(digests: readonly string[]): void {
    this.#db
      .prepare(`DELETE FROM artifact_uses WHERE digest IN (SELECT value FROM json_each(?3)) AND digest IN (${UNUSED})`)
      .run(...this.#awaited(), JSON.stringify(digests));
  }

  /** When those were noted that are still waited for. */
  #awaited(): readonly [number, number] {
    const now = this.#now();
    return [now - AWAITED_MS, now];
  }
}
