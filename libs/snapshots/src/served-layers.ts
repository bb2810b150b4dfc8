import { open, stat, type FileHandle } from 'node:fs/promises';
import { isNotFound } from '@soci/errors';
import type { FlatFuse } from '@soci/fuse';
import {
  isWholeKey,
  LayerError,
  type LayerData,
  type LayerEngine,
  type LayerNames,
  type LayerPreparer,
  type LayerSource,
  type LayerStore,
} from '@soci/layer';
import { SnapshotError } from './errors.ts';
import { KeyLocks } from './key-locks.ts';
import type { MountSource } from './layer-mounts.ts';
import type { LayerNumbers } from './snapshotter-view.ts';

export interface ServedLayersOptions {
  readonly store: LayerStore;
  readonly preparer: Pick<LayerPreparer, 'forget'>;
  /** Left out where there is no FUSE mount: layers that are complete can be used all the same. */
  readonly serving: Serving | undefined;
}

export interface Serving {
  readonly engine: Pick<LayerEngine, 'attach' | 'detach' | 'prefetch' | 'retryNow'>;
  readonly fuse: Pick<FlatFuse, 'addSlot' | 'removeSlot' | 'namesPath' | 'bytesPath'>;
}

interface Served {
  readonly layer: LayerData;
  /** Names images served through FUSE, by slot. They stay until the layer goes: a slot cannot be served twice. */
  readonly slots: Map<number, FileHandle>;
  readonly users: Set<number>;
}

export interface Source extends MountSource {
  readonly namesSizeBytes: number;
}

const never = new AbortController().signal;

/**
 * The layers that snapshots of this process are mounted from. A layer is open, and served through FUSE until all of it is on disk,
 * for as long as one snapshot uses it; with its last one its files are deleted.
 */
export class ServedLayers {
  readonly #options: ServedLayersOptions;
  readonly #locks = new KeyLocks();
  readonly #served = new Map<string, Served>();
  /** Layer keys by snapshot id. */
  readonly #keyOfUser = new Map<number, string>();

  constructor(options: ServedLayersOptions) {
    this.#options = options;
  }

  /**
   * Opens a layer for a snapshot and tells what to mount. Ends with {@link release}, also after a failure.
   * @param mountedAs how an earlier process has mounted it, where that mount goes on: then what it stands on is served, and nothing is to be mounted
   * @throws {LayerError} `NOT_FOUND` when its files are not there, or are others by now, or are not all of a layer that only comes whole: the image has to be planned
   *   anew; `STORE_BROKEN` when they are unusable
   */
  async use(snapshotId: number, names: LayerNames, mountedAs?: MountSource['kind']): Promise<Source> {
    const { layerKey } = names;
    if (this.#keyOfUser.get(snapshotId) !== layerKey) await this.release(snapshotId); // its image was planned anew
    return this.#locks.run(layerKey, never, async () => {
      this.#assertCurrent(names);
      const served = this.#served.get(layerKey) ?? (await this.#open(layerKey));
      served.users.add(snapshotId);
      this.#keyOfUser.set(snapshotId, layerKey);
      if (mountedAs !== 'files') assertServable(served.layer);
      const namesFile = await open(names.path, 'r');
      try {
        const namesSizeBytes = (await namesFile.stat()).size;
        const { serving } = this.#options;
        const isForFiles = isWhole(served.layer) && mountedAs !== 'fuse' && !served.slots.has(names.slot);
        const needsNobody = mountedAs === 'files' && (serving === undefined || isWholeKey(layerKey));
        if (isForFiles || needsNobody) {
          await namesFile.close();
          return { kind: 'files', namesPath: names.path, bytesPath: served.layer.paths.data, namesSizeBytes };
        }
        if (serving === undefined)
          throw new SnapshotError('UNAVAILABLE', `layer ${names.layerDigest} is not complete, and there is no FUSE mount`);
        const { fuse } = serving;
        if (served.slots.has(names.slot)) await namesFile.close();
        else this.#show(served, serving, names, namesFile, namesSizeBytes);
        return { kind: 'fuse', namesPath: fuse.namesPath(names.slot), bytesPath: fuse.bytesPath(names.slot), namesSizeBytes };
      } catch (cause) {
        if (!served.slots.has(names.slot)) await namesFile.close();
        throw cause;
      }
    });
  }

  /** Ends the use of its layer by a snapshot whose mount is gone. @returns the key of the layer when it went with it */
  async release(snapshotId: number): Promise<string | undefined> {
    const key = this.#keyOfUser.get(snapshotId);
    if (key === undefined) return undefined;
    this.#keyOfUser.delete(snapshotId);
    return await this.#locks.run(key, never, async () => {
      const served = this.#served.get(key);
      if (served === undefined || !served.users.delete(snapshotId) || served.users.size > 0) return undefined;
      this.#served.delete(key);
      await this.#close(served);
      await this.#delete(key);
      return key;
    });
  }

  counts(): LayerNumbers {
    const all = [...this.#served.values()];
    return {
      used: all.length,
      served: all.filter(({ slots }) => slots.size > 0).length,
      complete: all.filter(({ layer }) => isWhole(layer)).length,
      slots: all.reduce((sum, { slots }) => sum + slots.size, 0),
    };
  }

  /** Fetches spans of a layer that nobody reads yet; numbers past its last span are left out. */
  prefetch(layerKey: string, firstSpan: number, lastSpan: number): void {
    const served = this.#served.get(layerKey);
    if (served !== undefined) this.#options.serving?.engine.prefetch(served.layer, firstSpan, lastSpan);
  }

  /** Reads that wait for layers of an image are tried again: it was just planned, so it can be read. */
  retry({ reference }: LayerSource): void {
    this.#options.serving?.engine.retryNow((source) => source.reference === reference);
  }

  /** Closes all files, after the serving threads have ended. Nothing on disk is deleted. */
  async close(): Promise<void> {
    const all = [...this.#served.values()];
    this.#served.clear();
    this.#keyOfUser.clear();
    for (const { layer, slots } of all) {
      for (const namesFile of slots.values()) await namesFile.close();
      await this.#options.store.release(layer);
    }
  }

  /**
   * Deletes the layers on disk that no snapshot uses: what an earlier process left, or prepared for an image whose pull was given up.
   * @param keys those that are looked at; all by default
   */
  async deleteUnused(used: ReadonlySet<string>, keys?: readonly string[]): Promise<void> {
    for (const key of keys ?? (await this.#options.store.layers())) {
      if (used.has(key)) continue;
      await this.#locks.run(key, never, async () => {
        if (!this.#served.has(key)) await this.#delete(key);
      });
    }
  }

  /** Layers on disk that are not served and to which nothing was added for that long. */
  async idleKeys(idleMs: number): Promise<readonly string[]> {
    const { store } = this.#options;
    const keys: string[] = [];
    for (const key of await store.layers()) {
      if (!this.#served.has(key) && Date.now() - (await changedAtMs(store.paths(key).folder)) > idleMs) keys.push(key);
    }
    return keys;
  }

  /** A slot is served once: names that a plan took from the store before the layer went, and came back with another image, are of no use. */
  #assertCurrent({ slot, path, layerDigest }: LayerNames): void {
    if (this.#options.store.bySlot(slot)?.path !== path) throw new LayerError('NOT_FOUND', `layer ${layerDigest}: was removed meanwhile`);
  }

  async #open(key: string): Promise<Served> {
    const served: Served = { layer: await this.#options.store.openLayer(key), slots: new Map(), users: new Set() };
    this.#served.set(key, served);
    return served;
  }

  async #delete(key: string): Promise<void> {
    this.#options.preparer.forget(key);
    await this.#options.store.remove(key);
  }

  #show(
    { layer, slots }: Served,
    { fuse, engine }: Serving,
    { slot, layerDigest }: LayerNames,
    namesFile: FileHandle,
    namesSizeBytes: number,
  ): void {
    fuse.addSlot({
      slot,
      namesFd: namesFile.fd,
      namesSizeBytes,
      bytesFd: layer.dataFd,
      bytesSizeBytes: layer.deviceSizeBytes,
      dataSizeBytes: layer.index.dataSizeBytes,
      spanStartBytes: layer.index.startBytes,
      present: layer.present,
    });
    slots.set(slot, namesFile);
    engine.attach(slot, layer, () => this.#options.store.sources(layerDigest));
  }

  /** The descriptors are lent to the serving threads: they are closed when those have let go. */
  async #close({ layer, slots }: Served): Promise<void> {
    const { serving, store } = this.#options;
    for (const [slot, namesFile] of slots) {
      serving?.engine.detach(slot);
      await serving?.fuse.removeSlot(slot);
      await namesFile.close();
    }
    await store.release(layer);
  }
}

function isWhole({ isComplete, isFilled }: LayerData): boolean {
  return isComplete || isFilled;
}

/** What is missing of a layer that was fetched whole cannot be fetched by spans: a registry has it compressed. */
function assertServable({ key, digest, isFilled }: LayerData): void {
  if (isWholeKey(key) && !isFilled) throw new LayerError('NOT_FOUND', `layer ${digest}: was fetched whole, and is not all here any more`);
}

/** Now for one that is gone. */
async function changedAtMs(folder: string): Promise<number> {
  try {
    return (await stat(folder)).mtimeMs;
  } catch (error) {
    if (isNotFound(error)) return Date.now();
    throw error;
  }
}
