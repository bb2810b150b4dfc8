import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { isNotFound } from '@soci/errors';
import type { Logger } from '@soci/log';
import { ARTIFACT_USES_SCHEMA, ArtifactUses } from './artifact-uses.ts';
import { compactDatabase } from './compact-database.ts';
import type { LayerSource } from './layer-source.ts';
import { LayerError } from './errors.ts';
import { LayerData, type LayerPaths } from './layer-data.ts';
import { digestOfKey, isLayerKey } from './layer-key.ts';

/** A names image of a layer, and the slot of the FUSE mount it is served under. */
export interface LayerNames {
  /** At least 1, never given out twice. */
  readonly slot: number;
  /** See `layerKey`. */
  readonly layerKey: string;
  readonly layerDigest: string;
  /** What the layer's implied directories took from the layers below, see `impliedKey`. */
  readonly impliedKey: string;
  /** The EROFS image. */
  readonly path: string;
}

export interface LayerStoreOptions {
  /** A directory of the store's own; made when it is not there. */
  readonly root: string;
  readonly log: Logger;
  /** How often data and maps are flushed. */
  readonly flushMs?: number;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

const FLUSH_MS = 1000;
/** References kept for a layer; the oldest are forgotten. */
const MAX_SOURCES = 64;
/** The same for the Kubernetes namespaces of a reference. */
const MAX_NAMESPACES = 256;
/** What `impliedKey` gives, or `NO_IMPLIED_KEY`, then the version of the image's writer. */
const IMPLIED_KEY = /^[0-9a-f]{1,64}$/;

const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL;
  PRAGMA foreign_keys = ON;
  CREATE TABLE IF NOT EXISTS slots (
    slot INTEGER PRIMARY KEY AUTOINCREMENT, layer TEXT NOT NULL, implied_key TEXT NOT NULL, checksum INTEGER NOT NULL, UNIQUE (layer, implied_key)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS prepared (layer TEXT NOT NULL, lowers TEXT NOT NULL, implied_key TEXT NOT NULL, PRIMARY KEY (layer, lowers)) STRICT;
  CREATE TABLE IF NOT EXISTS sources (
    id INTEGER PRIMARY KEY AUTOINCREMENT, layer TEXT NOT NULL, reference TEXT NOT NULL, repository TEXT NOT NULL, namespaces TEXT NOT NULL,
    UNIQUE (layer, reference)
  ) STRICT;
  CREATE INDEX IF NOT EXISTS sources_by_reference ON sources (reference);
  ${ARTIFACT_USES_SCHEMA}
`;

/**
 * The layers on this node: for each a folder with its zTOC, its data and its names images, and in one database the slots and the images through
 * which each layer can be read. Survives a kill at any time; a power failure may forget the last slots, when no FUSE mount is left that knows them.
 */
export class LayerStore implements AsyncDisposable {
  /** What was fetched for the layers and images here. */
  readonly artifacts: ArtifactUses;
  readonly #root: string;
  readonly #log: Logger;
  readonly #db: DatabaseSync;
  readonly #open = new Map<string, { readonly layer: Promise<LayerData>; users: number }>();
  readonly #closing = new Map<string, Promise<void>>();
  readonly #flusher: NodeJS.Timeout;
  #flushing: Promise<void> | undefined;
  /** Layers whose last flush failed. */
  readonly #unflushed = new Set<string>();
  #clearing: Promise<void> = Promise.resolve();

  private constructor({ root, log, flushMs = FLUSH_MS, now = Date.now }: LayerStoreOptions, db: DatabaseSync) {
    this.#root = root;
    this.#log = log;
    this.#db = db;
    this.artifacts = new ArtifactUses(db, now);
    this.#flusher = setInterval(() => this.#flushSoon(), flushMs).unref();
  }

  /** Opens the store; what a removal or a preparation left half done is cleared away meanwhile. */
  static async open(options: LayerStoreOptions): Promise<LayerStore> {
    const { root } = options;
    for (const part of ['layers', 'trash', 'tmp']) await mkdir(join(root, part), { recursive: true, mode: 0o700 });
    const db = new DatabaseSync(join(root, 'layers.db'));
    db.exec(SCHEMA);
    const store = new LayerStore(options, db);
    const leftovers: string[] = [];
    for (const part of ['trash', 'tmp']) leftovers.push(...(await readdir(join(root, part))).map((name) => join(root, part, name)));
    store.#clearing = store.#clear(leftovers);
    return store;
  }

  /** Where the files of a layer are, or would be. @throws {LayerError} `NOT_FOUND` when the key is none */
  paths(key: string): LayerPaths & { readonly folder: string } {
    if (!isLayerKey(key)) throw new LayerError('NOT_FOUND', `layer ${key.slice(0, 100)}: no such key`);
    const folder = join(this.#root, 'layers', key);
    return { folder, ztoc: join(folder, 'ztoc'), index: join(folder, 'spans'), data: join(folder, 'data'), map: join(folder, 'map') };
  }

  /** Where a names image is, or would be. */
  namesPath(key: string, impliedKey: string): string {
    if (!IMPLIED_KEY.test(impliedKey)) throw new LayerError('NOT_FOUND', `layer ${key}: no names image ${impliedKey.slice(0, 100)}`);
    return join(this.paths(key).folder, `names-${impliedKey}.erofs`);
  }

  /** A name in a folder on the same file system, for a file that is moved to its place when it is whole. */
  temporaryPath(): string {
    return join(this.#root, 'tmp', randomUUID());
  }

  /**
   * The slot of a names image, a new one when it has none, and when it was of another image: the kernel keeps what it read under a slot for as long as the FUSE mount is there.
   * @param checksum of the image that was written, or found right
   */
  names(key: string, impliedKey: string, checksum: number): LayerNames {
    const known = this.#db.prepare('SELECT slot, checksum FROM slots WHERE layer = ? AND implied_key = ?').get(key, impliedKey);
    const row = known?.checksum === checksum ? known : this.#giveSlot(key, impliedKey, checksum);
    return this.#toNames({ slot: row?.slot, layer: key, implied_key: impliedKey });
  }

  /** Checksums that the names images of a layer should have, by implied key. */
  namesChecksums(key: string): ReadonlyMap<string, number> {
    const rows = this.#db.prepare('SELECT implied_key, checksum FROM slots WHERE layer = ?').all(key);
    return new Map(rows.map((row) => [String(row.implied_key), Number(row.checksum)]));
  }

  /** The names image of a slot. */
  bySlot(slot: number): LayerNames | undefined {
    const row = this.#db.prepare('SELECT slot, layer, implied_key FROM slots WHERE slot = ?').get(slot);
    return row === undefined ? undefined : this.#toNames(row);
  }

  /** All names images, by slot. */
  allNames(): LayerNames[] {
    const rows = this.#db.prepare('SELECT slot, layer, implied_key FROM slots ORDER BY slot').all();
    return rows.map((row) => this.#toNames(row));
  }

  /** The implied key that a layer was given over these layers (keys, nearest first) when it was prepared before. */
  preparedKey(key: string, lowers: readonly string[]): string | undefined {
    const row = this.#db.prepare('SELECT implied_key FROM prepared WHERE layer = ? AND lowers = ?').get(key, lowers.join());
    return row === undefined ? undefined : String(row.implied_key);
  }

  /** Whether files of the layer were written before, whatever was below it. */
  isPrepared(key: string): boolean {
    return this.#db.prepare('SELECT 1 FROM prepared WHERE layer = ? LIMIT 1').get(key) !== undefined;
  }

  notePrepared(key: string, lowers: readonly string[], impliedKey: string): void {
    this.#db.prepare('INSERT OR REPLACE INTO prepared (layer, lowers, implied_key) VALUES (?, ?, ?)').run(key, lowers.join(), impliedKey);
  }

  /** Notes that a layer can be read through an image; the newest goes first, also when it was known. */
  addSource(layerDigest: string, { reference, repository, namespaces }: LayerSource): void {
    const known = this.sources(layerDigest).find((source) => source.reference === reference);
    const all = [...new Set([...namespaces, ...(known?.namespaces ?? [])])].slice(0, MAX_NAMESPACES);
    this.#db
      .prepare('INSERT OR REPLACE INTO sources (layer, reference, repository, namespaces) VALUES (?, ?, ?, ?)')
      .run(layerDigest, reference, repository, JSON.stringify(all));
    this.#db
      .prepare('DELETE FROM sources WHERE layer = ?1 AND id NOT IN (SELECT id FROM sources WHERE layer = ?1 ORDER BY id DESC LIMIT ?2)')
      .run(layerDigest, MAX_SOURCES);
  }

  /** The images through which a layer can be read, newest first. */
  sources(layerDigest: string): LayerSource[] {
    return this.#db
      .prepare('SELECT reference, repository, namespaces FROM sources WHERE layer = ? ORDER BY id DESC')
      .all(layerDigest)
      .map((row) => ({
        reference: String(row.reference),
        repository: String(row.repository),
        namespaces: JSON.parse(String(row.namespaces)) as string[],
      }));
  }

  /** The Kubernetes namespaces that are noted with the layers of an image. */
  namespacesOf(reference: string): readonly string[] {
    const rows = this.#db.prepare('SELECT DISTINCT namespaces FROM sources WHERE reference = ?').all(reference);
    return [...new Set(rows.flatMap(({ namespaces }) => JSON.parse(String(namespaces)) as string[]))];
  }

  /** Notes that these Kubernetes namespaces, too, pulled an image; where that is news, it goes first, because it could be read just now. */
  addNamespaces(reference: string, namespaces: readonly string[]): void {
    const rows = this.#db.prepare('SELECT layer, repository, namespaces FROM sources WHERE reference = ?').all(reference);
    for (const row of rows) {
      const known = JSON.parse(String(row.namespaces)) as string[];
      if (namespaces.every((namespace) => known.includes(namespace))) continue;
      this.addSource(String(row.layer), { reference, repository: String(row.repository), namespaces });
    }
  }

  /** The images through which layers can be read. */
  images(): Pick<LayerSource, 'reference' | 'repository'>[] {
    return this.#db
      .prepare('SELECT DISTINCT reference, repository FROM sources')
      .all()
      .map((row) => ({ reference: String(row.reference), repository: String(row.repository) }));
  }

  /** An image was removed: its layers are not asked for through it any more. */
  removeReference(reference: string): void {
    this.#db.prepare('DELETE FROM sources WHERE reference = ?').run(reference);
    this.artifacts.end(reference);
  }

  /**
   * Opens a layer's data; the same object for everyone who opens it before the last one has `release`d it.
   * @throws {LayerError} `NOT_FOUND`, `STORE_BROKEN`
   */
  async openLayer(key: string): Promise<LayerData> {
    let entry = this.#open.get(key);
    if (entry === undefined) {
      entry = { layer: this.#openWhenClosed(key), users: 0 };
      this.#open.set(key, entry);
    }
    entry.users++;
    try {
      return await entry.layer;
    } catch (error) {
      if (this.#open.get(key) === entry) this.#open.delete(key);
      throw error;
    }
  }

  /** Ends one use of an open layer; the last one flushes and closes it. */
  async release(layer: LayerData): Promise<void> {
    const entry = this.#open.get(layer.key);
    if (entry === undefined || --entry.users > 0) return;
    this.#open.delete(layer.key);
    const closing = layer[Symbol.asyncDispose]().finally(() => this.#closing.delete(layer.key));
    this.#closing.set(layer.key, closing);
    await closing;
  }

  /** Whether somebody has the layer open. */
  isOpen(key: string): boolean {
    return this.#open.has(key);
  }

  /**
   * Deletes a layer's files and slots. What is mounted from them stays readable until it is unmounted.
   * @throws {LayerError} `IN_USE` while it is open
   */
  async remove(key: string): Promise<void> {
    if (this.#open.has(key) || this.#closing.has(key)) throw new LayerError('IN_USE', `layer ${key}: in use`);
    const { folder } = this.paths(key);
    for (const table of ['slots', 'prepared']) this.#db.prepare(`DELETE FROM ${table} WHERE layer = ?`).run(key);
    this.#forgetSources(digestOfKey(key));
    this.artifacts.end(key);
    const trash = join(this.#root, 'trash', randomUUID());
    try {
      await rename(folder, trash);
    } catch (error) {
      if (isNotFound(error)) return;
      throw error;
    }
    await rm(trash, { recursive: true, force: true });
  }

  /** Deletes folders that no table knows: their removal, or the preparation of their layer, was cut off. Only before anything is prepared. */
  async discardUnknown(): Promise<void> {
    const rows = this.#db.prepare('SELECT layer FROM slots UNION SELECT layer FROM prepared').all();
    const known = new Set(rows.map(({ layer }) => layer));
    const discarded: string[] = [];
    for (const name of await readdir(join(this.#root, 'layers'))) {
      if (known.has(name)) continue;
      const trash = join(this.#root, 'trash', randomUUID());
      await rename(join(this.#root, 'layers', name), trash);
      discarded.push(trash);
    }
    const before = this.#clearing;
    this.#clearing = before.then(() => this.#clear(discarded));
  }

  /** Gives the disk back what the tables do not need any more. */
  compact(): void {
    compactDatabase(this.#db);
  }

  /** Keys of the layers that have a folder here. */
  async layers(): Promise<string[]> {
    return (await readdir(join(this.#root, 'layers'))).filter(isLayerKey);
  }

  /** Flushes and closes every layer. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#flusher);
    await this.#flushing;
    await this.#clearing;
    const open = [...this.#open.values()];
    this.#open.clear();
    const closed = await Promise.allSettled([
      ...this.#closing.values(),
      ...open.map(async ({ layer }) => (await layer)[Symbol.asyncDispose]()),
    ]);
    this.#db.close();
    for (const result of closed)
      if (result.status === 'rejected') this.#log.error({ error: result.reason as unknown }, 'layer cannot be closed');
  }

  #flushSoon(): void {
    this.#flushing ??= this.#flushAll().finally(() => {
      this.#flushing = undefined;
    });
  }

  /** One layer after the other: a disk that is slow holds one thread of the pool, not all. */
  async #flushAll(): Promise<void> {
    for (const [key, { layer }] of [...this.#open]) {
      try {
        const data = await layer;
        if (data.isDirty) await data.flush();
        if (this.#unflushed.delete(key)) this.#log.info({ layer: key }, 'layer data can be flushed again');
      } catch (error) {
        if (!this.#unflushed.has(key)) this.#log.error({ layer: key, error }, 'layer data cannot be flushed, will try again');
        this.#unflushed.add(key);
      }
    }
    for (const key of this.#unflushed) if (!this.#open.has(key)) this.#unflushed.delete(key);
  }

  async #clear(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      try {
        await rm(path, { recursive: true, force: true });
      } catch (error) {
        this.#log.warn({ path, error }, 'leftover cannot be deleted');
      }
    }
  }

  /** With the last of the layers here that have this blob; prepared anew, it is noted anew. */
  #forgetSources(layerDigest: string): void {
    this.#db
      .prepare(
        `DELETE FROM sources WHERE layer = ?1 AND NOT EXISTS (SELECT 1 FROM prepared WHERE layer GLOB ?2)
           AND NOT EXISTS (SELECT 1 FROM slots WHERE layer GLOB ?2)`,
      )
      .run(layerDigest, `${layerDigest.slice('sha256:'.length)}-*`);
  }

  #giveSlot(key: string, impliedKey: string, checksum: number): Record<string, unknown> | undefined {
    return this.#db
      .prepare('INSERT OR REPLACE INTO slots (layer, implied_key, checksum) VALUES (?, ?, ?) RETURNING slot')
      .get(key, impliedKey, checksum);
  }

  /** Not before whoever had it open has written down what is in it. */
  async #openWhenClosed(key: string): Promise<LayerData> {
    const paths = this.paths(key);
    await Promise.allSettled([this.#closing.get(key)]);
    return await LayerData.open(key, digestOfKey(key), paths);
  }

  #toNames(row: Record<string, unknown>): LayerNames {
    const key = String(row.layer);
    const impliedKey = String(row.implied_key);
    return { slot: Number(row.slot), layerKey: key, layerDigest: digestOfKey(key), impliedKey, path: this.namesPath(key, impliedKey) };
  }
}
