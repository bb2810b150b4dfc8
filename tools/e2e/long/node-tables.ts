import { copyFile, mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** What a snapshotter's tables know, and what its folders hold. */
export interface NodeTables {
  /** Snapshot ids by name. */
  readonly ids: ReadonlyMap<string, number>;
  /** Layers that have a slot, or were prepared. */
  readonly layers: ReadonlySet<string>;
  /** Names in `snapshots/`, and in the folder of layers. */
  readonly snapshotFolders: readonly string[];
  readonly layerFolders: readonly string[];
  /** What is half made or half deleted. */
  readonly leftovers: readonly string[];
}

/** Reads copies of the tables of a snapshotter that is running, and idle: one of them it does not share. @param root `--root` of the service */
export async function readTables(root: string): Promise<NodeTables> {
  const copies = await mkdtemp(join(root, '..', 'tables-'));
  try {
    const snapshots = await copyOf(join(root, 'snapshotter'), 'metadata.db', copies);
    const layers = await copyOf(join(root, 'layers'), 'layers.db', copies);
    const known = rows(layers, 'SELECT layer AS value FROM slots UNION SELECT layer AS value FROM prepared');
    return {
      ids: new Map(rows(snapshots, "SELECT name || ' ' || id AS value FROM snapshots").map(toNameAndId)),
      layers: new Set(known),
      snapshotFolders: await readdir(join(root, 'snapshotter', 'snapshots')),
      layerFolders: await readdir(join(root, 'layers', 'layers')),
      leftovers: [...(await readdir(join(root, 'layers', 'trash'))), ...(await readdir(join(root, 'layers', 'tmp')))],
    };
  } finally {
    await rm(copies, { recursive: true });
  }
}

async function copyOf(directory: string, name: string, to: string): Promise<string> {
  for (const file of await readdir(directory)) {
    if (file === name || file === `${name}-wal`) await copyFile(join(directory, file), join(to, file));
  }
  return join(to, name);
}

function rows(path: string, query: string): string[] {
  const database = new DatabaseSync(path);
  try {
    return database
      .prepare(query)
      .all()
      .map(({ value }) => String(value));
  } finally {
    database.close();
  }
}

function toNameAndId(text: string): [string, number] {
  const space = text.lastIndexOf(' ');
  return [text.slice(0, space), Number(text.slice(space + 1))];
}
