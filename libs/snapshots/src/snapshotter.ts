import { basename } from 'node:path';
import type { Logger } from '@soci/log';
import { SnapshotError } from './errors.ts';
import type { FileSystemCalls } from './file-system-calls.ts';
import { parseFilters } from './filter/filter.ts';
import { snapshotFields } from './filter/snapshot-fields.ts';
import { KeyLocks } from './key-locks.ts';
import { isRemote, LABEL } from './labels.ts';
import { LayerPreparation } from './layer-preparation.ts';
import type { LazyLayers } from './lazy-layers.ts';
import type { MetadataStore } from './metadata-store.ts';
import { mountedOver } from './mounted-over.ts';
import { overlayMounts } from './overlay-mounts.ts';
import { idOfDirectory, type Owner, type SnapshotDirectories } from './snapshot-directories.ts';
import { NO_USAGE, type Labels, type Mount, type SnapshotInfo, type SnapshotRecord, type Usage } from './snapshot.ts';
import { updatedLabels } from './update-mask.ts';

export interface SnapshotRequest {
  readonly key: string;
  /** Name of a committed snapshot; empty for none. */
  readonly parent: string;
  readonly labels: Labels;
  /** The containerd namespace of the call, where its header tells. */
  readonly namespace?: string | undefined;
}

export interface CommitOptions {
  readonly labels: Labels;
  readonly parent?: string;
}

export interface SnapshotterOptions {
  readonly store: MetadataStore;
  readonly directories: SnapshotDirectories;
  readonly calls: FileSystemCalls;
  readonly log: Logger;
  /** Left out where layers cannot be served lazily: every layer is then left to the container runtime. */
  readonly lazy?: LazyLayers | undefined;
  /** At the end of an overlay's options. */
  readonly overlayOptions?: readonly string[];
  /** Called for each layer whose lazy mount failed, for the metric. */
  readonly onLazyFailure?: () => unknown;
}

/**
 * containerd's snapshotter over overlayfs, with layers served lazily where they can be.
 * Calls about one key are carried out one after the other; calls about different keys do not wait for each other.
 *
 * Errors are {@link SnapshotError}s with the codes of {@link MetadataStore}, and `UNAVAILABLE` when a lazy layer below cannot be mounted.
 */
export class Snapshotter {
  readonly #options: SnapshotterOptions;
  readonly #locks = new KeyLocks();
  readonly #layers: LayerPreparation | undefined;
  #cleanup: Promise<unknown> = Promise.resolve();

  constructor(options: SnapshotterOptions) {
    this.#options = options;
    this.#layers = options.lazy && new LayerPreparation({ ...options, lazy: options.lazy });
  }

  /**
   * Makes an active snapshot.
   * @throws {SnapshotError} `ALREADY_EXISTS` also when the labels name a layer that is now there, committed under the name of its chain id
   */
  prepare(request: SnapshotRequest, signal: AbortSignal): Promise<readonly Mount[]> {
    this.#options.log.debug({ key: request.key, parent: request.parent }, 'prepare');
    return this.#locks.run(request.key, signal, () =>
      this.#create('active', request, signal, async (record) => this.#layers?.prepare(record, request, signal)),
    );
  }

  view(request: SnapshotRequest, signal: AbortSignal): Promise<readonly Mount[]> {
    this.#options.log.debug({ key: request.key, parent: request.parent }, 'view');
    return this.#locks.run(request.key, signal, () => this.#create('view', request, signal));
  }

  /** @throws {SnapshotError} `FAILED_PRECONDITION` for a committed snapshot */
  async mounts(key: string, signal: AbortSignal): Promise<readonly Mount[]> {
    this.#options.log.debug({ key }, 'mounts');
    return this.#mountsOf(this.#require(key), signal);
  }

  /** Measures an active snapshot and makes it a committed one that can be a parent. */
  commit(key: string, name: string, { labels, parent = '' }: CommitOptions, signal: AbortSignal): Promise<SnapshotInfo> {
    this.#options.log.debug({ key, name }, 'commit');
    return this.#locks.run(key, signal, async () => {
      const record = this.#require(key);
      if (record.kind !== 'active') throw new SnapshotError('FAILED_PRECONDITION', `snapshot ${key} is ${record.kind}, not active`);
      const usage = await this.#measure(record.id, signal);
      return this.#options.store.commit({ key, name, labels, usage, parent });
    });
  }

  /**
   * Forgets a snapshot; its directory goes with the next {@link cleanup}.
   * @throws {SnapshotError} `FAILED_PRECONDITION` when another snapshot stands on it, or somebody has it mounted: what containerd's garbage collector
   * takes for a reason to try again later
   */
  remove(key: string, signal: AbortSignal): Promise<void> {
    this.#options.log.debug({ key }, 'remove');
    return this.#locks.run(key, signal, async () => {
      await this.#assertUnused(this.#require(key), signal);
      this.#forget(key);
    });
  }

  stat(key: string): SnapshotInfo {
    this.#options.log.debug({ key }, 'stat');
    return this.#require(key);
  }

  /** @param mask `labels` or `labels.<key>`; all labels without one */
  update(name: string, labels: Labels, mask: readonly string[]): SnapshotInfo {
    this.#options.log.debug({ key: name, mask }, 'update');
    return this.#options.store.updateLabels(name, (before) => updatedLabels(before, labels, mask));
  }

  /** Those that match any of the filters, in the byte order of their names. */
  list(filters: readonly string[]): readonly SnapshotInfo[] {
    this.#options.log.debug({ filters }, 'walk');
    const matches = parseFilters(filters);
    return this.#options.store.list().filter((record) => matches(snapshotFields(record)));
  }

  /** Active snapshots are measured now, committed ones were when they became that; views and lazy layers take nothing. */
  async usage(key: string, signal: AbortSignal): Promise<Usage> {
    this.#options.log.debug({ key }, 'usage');
    const { id, kind, usage } = this.#require(key);
    if (kind === 'view') return NO_USAGE;
    return kind === 'committed' ? usage : this.#measure(id, signal);
  }

  /** Removes the directories, and the mounts, of snapshots that are no more. One that cannot be removed is logged and left for the next time. */
  cleanup(signal: AbortSignal): Promise<void> {
    this.#options.log.debug('cleanup');
    const done = this.#cleanup.then(() => this.#removeLeftovers(signal));
    this.#cleanup = done.catch(() => undefined); // the caller gets the error; the next one starts afresh
    return done;
  }

  async #create(
    kind: 'active' | 'view',
    request: SnapshotRequest,
    signal: AbortSignal,
    onCreated?: (record: SnapshotRecord) => Promise<void>,
  ): Promise<readonly Mount[]> {
    const record = await this.#make(kind, request, signal);
    try {
      await onCreated?.(record);
      return await this.#mountsOf(record, signal);
    } catch (cause) {
      await this.#undo(record);
      throw cause;
    }
  }

  async #make(kind: 'active' | 'view', { key, parent, labels }: SnapshotRequest, signal: AbortSignal): Promise<SnapshotRecord> {
    const { store, directories } = this.#options;
    if (labels[LABEL.uidMapping] !== undefined || labels[LABEL.gidMapping] !== undefined) {
      throw new SnapshotError('UNIMPLEMENTED', `snapshot ${key}: ids are not mapped here; take remap-ids out of the plugin's capabilities`);
    }
    if (store.get(key) !== undefined) throw new SnapshotError('ALREADY_EXISTS', `snapshot ${key} exists already`);
    const owner = await this.#ownerOf(parent, signal);
    const directory = await directories.create(kind, owner);
    try {
      const record = store.create({ key, kind, parent, labels }, (id) => directory.placeAs(id));
      directory.keep();
      return record;
    } catch (cause) {
      await directory.discard();
      throw cause;
    }
  }

  /** An overlay shows the owner of its upper directory as that of the root: it has to be the parent's. */
  async #ownerOf(parent: string, signal: AbortSignal): Promise<Owner | undefined> {
    if (parent === '') return undefined;
    const { store, directories, calls } = this.#options;
    const record = store.get(parent);
    if (record === undefined) throw new SnapshotError('NOT_FOUND', `parent snapshot ${parent} does not exist`);
    const stat = await calls.stat(directories.fsPathOf(record.id), { signal });
    if (stat === undefined) throw new SnapshotError('UNAVAILABLE', `parent snapshot ${parent}: its directory is missing`);
    return stat;
  }

  async #mountsOf(record: SnapshotRecord, signal: AbortSignal): Promise<readonly Mount[]> {
    const { store, directories, overlayOptions = [] } = this.#options;
    const { id, name, kind } = record;
    if (kind === 'committed') throw new SnapshotError('FAILED_PRECONDITION', `snapshot ${name} is committed, not active or a view`);
    const chain = store.ancestors(id);
    await this.#assertMounted(chain, signal);
    return overlayMounts(directories, { id, kind, parentIds: chain.map((parent) => parent.id) }, overlayOptions);
  }

  async #assertMounted(chain: readonly SnapshotRecord[], signal: AbortSignal): Promise<void> {
    const { lazy, directories } = this.#options;
    await Promise.all(
      chain.map(async (record, index) => {
        if (!isRemote(record.labels)) return;
        try {
          if (lazy === undefined) throw new SnapshotError('UNAVAILABLE', 'layers cannot be served lazily on this machine');
          await lazy.ensureMounted({ record, chain: chain.slice(index + 1), directory: directories.fsPathOf(record.id) }, signal);
        } catch (cause) {
          signal.throwIfAborted();
          throw new SnapshotError('UNAVAILABLE', `layer "${record.id}" unavailable`, { cause });
        }
      }),
    );
  }

  async #measure(id: number, signal: AbortSignal): Promise<Usage> {
    return this.#options.calls.diskUsage(this.#options.directories.fsPathOf(id), { signal });
  }

  async #assertUnused({ id, name }: SnapshotRecord, signal: AbortSignal): Promise<void> {
    const { calls, directories } = this.#options;
    const directory = directories.fsPathOf(id);
    const mounts = await calls.mountsNaming(`/${basename(directories.path)}/${id}/fs`, { signal });
    const [user] = mountedOver(directory, mounts);
    if (user !== undefined) throw new SnapshotError('FAILED_PRECONDITION', `cannot remove snapshot ${name}: it is in use at ${user}`);
  }

  #require(key: string): SnapshotRecord {
    const record = this.#options.store.get(key);
    if (record === undefined) throw new SnapshotError('NOT_FOUND', `snapshot ${key} does not exist`);
    return record;
  }

  /** After a call that failed half-way, so that it can be made again with the same key. What cannot be removed now goes with the next cleanup. */
  async #undo({ id, name, kind }: SnapshotRecord): Promise<void> {
    const { store, log } = this.#options;
    const current = store.get(name);
    if (current?.id !== id || current.kind !== kind) return; // it has become another snapshot: a committed layer
    try {
      this.#forget(name);
      await this.#removeDirectory(String(id));
    } catch (error) {
      log.warn({ key: name, snapshotId: id, error }, 'snapshot of a failed call not removed');
    }
  }

  #forget(name: string): void {
    const { store, lazy } = this.#options;
    const record = store.remove(name);
    lazy?.forgotten(record);
  }

  async #removeLeftovers(signal: AbortSignal): Promise<void> {
    const { store, directories, lazy, log } = this.#options;
    const names = await directories.names();
    const known = store.ids(); // read after the names: whatever got its name before has its record by now
    for (const name of names) {
      signal.throwIfAborted();
      if (known.has(ownerOfDirectory(name))) continue;
      try {
        await this.#removeDirectory(name);
      } catch (error) {
        log.warn({ path: `${directories.path}/${name}`, error }, 'failed to remove directory');
      }
    }
    await lazy?.cleanup(signal);
    store.compact();
  }

  async #removeDirectory(name: string): Promise<void> {
    const { lazy, calls, directories } = this.#options;
    const id = idOfDirectory(name);
    if (id !== undefined) await lazy?.remove(id);
    await calls.removeTree(`${directories.path}/${name}`);
  }
}

/** The Go snapshotter makes copies called `<parent id>_<id>` that belong to the second one. */
function ownerOfDirectory(name: string): number {
  return idOfDirectory(name.replace(/^\d+_/, '')) ?? 0;
}
