import { hasCode } from '@soci/errors';
import type { LayerNames, LayerStore } from '@soci/layer';
import type { MountInfo } from '@soci/linux';
import type { Logger } from '@soci/log';
import { SnapshotError } from './errors.ts';
import type { ImageDecisions } from './image-decisions.ts';
import { imageOfLabels, layerOfPlan, type ImagePlan, type ImageRequest } from './image-plan.ts';
import { KeyLocks } from './key-locks.ts';
import { LABEL } from './labels.ts';
import type { LayerMounts, MountSource } from './layer-mounts.ts';
import type { LazyLayers, LazyOutcome, LazyRequest, LazySnapshot } from './lazy-layers.ts';
import type { MetadataStore } from './metadata-store.ts';
import { checkNames, namesLabel, namesOfLabels, type KnownNames } from './names-label.ts';
import type { Prefetch } from './prefetch.ts';
import type { ServedLayers } from './served-layers.ts';
import type { SnapshotRecord } from './snapshot.ts';
import type { SnapshotDirectories } from './snapshot-directories.ts';

export interface LazySnapshotsOptions {
  readonly decisions: ImageDecisions;
  readonly served: ServedLayers;
  readonly mounts: LayerMounts;
  readonly store: Pick<LayerStore, 'names' | 'namesChecksums' | 'addSource' | 'removeReference' | 'images'>;
  /** Where a snapshot whose image was planned anew is noted. */
  readonly metadata: Pick<MetadataStore, 'updateLabels' | 'list' | 'hasImage'>;
  readonly directories: SnapshotDirectories;
  readonly log: Logger;
  /** Where lists of spans are fetched early. */
  readonly prefetch?: Pick<Prefetch, 'start'> | undefined;
}

interface Mounted {
  readonly slot: number;
  readonly kind: MountSource['kind'];
  readonly directory: string;
}

interface Restore {
  readonly record: SnapshotRecord;
  readonly directory: string;
  readonly names: KnownNames | undefined;
  /** By an earlier process, from files that need nobody to serve them. */
  readonly isMounted: boolean;
}

/** Restores under way at the same time: mounts themselves are made one by one. */
const MAX_RESTORES = 8;
/** Longer than a pull waits between the plan of its image and the last mount; one that comes later plans anew. */
const MAX_UNUSED_MS = 15 * 60_000;

const never = new AbortController().signal;

/** Layers mounted from names images of the layer store, as the plan of their image says. */
export class LazySnapshots implements LazyLayers {
  readonly #options: LazySnapshotsOptions;
  readonly #locks = new KeyLocks();
  /** By snapshot id. */
  readonly #mounted = new Map<number, Mounted>();

  constructor(options: LazySnapshotsOptions) {
    this.#options = options;
  }

  async prepare({ snapshotId, target, namespace, labels, chain, directory }: LazyRequest, signal: AbortSignal): Promise<LazyOutcome> {
    const { decisions, prefetch, served, store } = this.#options;
    const named = imageOfLabels(labels, namespace);
    if ('missing' in named) return { kind: 'declined', cause: 'failed', reason: `label ${named.missing} is missing`, level: 'warn' };
    const { image, layerDigest } = named;
    for (let attempt = 0; ; attempt++) {
      const { plan, isFirst } = await decisions.decide(image, target, signal);
      if (plan.kind === 'declined') return { ...plan, level: isFirst ? 'warn' : 'info' };
      const names = layerOfPlan(plan.layers, layerDigest, chain.length);
      if (names === undefined) return this.#decline(image, `layer ${layerDigest} is not one of the image`, undefined);
      try {
        await this.#mount(snapshotId, names, directory, signal);
        store.addSource(layerDigest, plan.source); // an image of this name may have been removed since the plan was made
        if (isFirst) served.retry(plan.source);
        const artifact = plan.prefetch.get(layerDigest);
        if (artifact !== undefined) prefetch?.start(plan.source, names, artifact);
        return { kind: 'lazy', labels: namesLabel(names) };
      } catch (error) {
        await this.remove(snapshotId);
        signal.throwIfAborted();
        const isRemovedMeanwhile = hasCode(error, 'NOT_FOUND', 'ENOENT') && attempt === 0;
        if (!isRemovedMeanwhile) return this.#decline(image, `layer ${layerDigest} cannot be mounted`, error);
        decisions.forget(image);
      }
    }
  }

  async remove(snapshotId: number): Promise<void> {
    const { mounts, served, directories } = this.#options;
    const unmount = async (): Promise<void> => {
      this.#mounted.delete(snapshotId);
      await mounts.unmount(directories.fsPathOf(snapshotId));
    };
    const mounted = this.#mounted.get(snapshotId);
    if (mounted === undefined) await unmount();
    else await this.#locks.run(String(mounted.slot), never, unmount); // nobody binds to a directory that is being unmounted
    await served.release(snapshotId);
  }

  forgotten({ labels }: SnapshotRecord): void {
    const reference = labels[LABEL.imageRef];
    if (reference !== undefined) this.#forgetUnused(reference);
  }

  async restore(snapshots: readonly LazySnapshot[], signal: AbortSignal): Promise<void> {
    const { mounts, served, store, directories } = this.#options;
    const namesOf = new Map(snapshots.map(({ record, directory }) => [directory, namesOfLabels(record.labels, store)]));
    const isToStay = ({ type, source, mountPoint }: MountInfo): boolean => type === 'erofs' && source === namesOf.get(mountPoint)?.path;
    const staying = await mounts.clear(directories.path, isToStay);
    const pending = snapshots.values();
    const worker = async (): Promise<void> => {
      for (const { record, directory } of pending) {
        await this.#restoreOne({ record, directory, names: namesOf.get(directory), isMounted: staying.has(directory) }, signal);
      }
    };
    await Promise.all(Array.from({ length: MAX_RESTORES }, worker));
    await served.deleteUnused(new Set([...namesOf.values()].flatMap((names) => names?.layerKey ?? [])));
    for (const { reference } of store.images()) this.#forgetUnused(reference);
  }

  async cleanup(signal: AbortSignal): Promise<void> {
    const { served, store, metadata } = this.#options;
    const idle = await served.idleKeys(MAX_UNUSED_MS);
    signal.throwIfAborted();
    if (idle.length === 0) return;
    // A snapshot that could not be restored uses its layer all the same.
    const used = metadata.list().flatMap(({ labels }) => namesOfLabels(labels, store)?.layerKey ?? []);
    await served.deleteUnused(new Set(used), idle);
  }

  async ensureMounted({ record, chain, directory }: LazySnapshot, signal: AbortSignal): Promise<void> {
    if (this.#mounted.has(record.id)) return;
    const { decisions, store, metadata } = this.#options;
    try {
      await this.#mountKnown(record.id, namesOfLabels(record.labels, store), directory, signal);
    } catch (cause) {
      signal.throwIfAborted();
      const named = imageOfLabels(record.labels, record.labels[LABEL.namespace] ?? '');
      if ('missing' in named) throw cause;
      const { plan } = await decisions.decide(named.image, record.name, signal);
      const planned = plan.kind === 'lazy' ? layerOfPlan(plan.layers, named.layerDigest, chain.length) : undefined;
      if (planned === undefined) throw cause;
      await this.#mount(record.id, planned, directory, signal);
      metadata.updateLabels(record.name, (labels) => ({ ...labels, ...namesLabel(planned) }));
    }
  }

  #mount(snapshotId: number, names: LayerNames, directory: string, signal: AbortSignal): Promise<void> {
    const { served, mounts, directories } = this.#options;
    return this.#locks.run(String(names.slot), signal, async () => {
      if (this.#mounted.has(snapshotId)) return;
      const source = await served.use(snapshotId, names);
      await directories.ensure(snapshotId);
      const isSame = ({ slot, kind }: Mounted): boolean => slot === names.slot && kind === source.kind;
      const other = [...this.#mounted.values()].find((mounted) => isSame(mounted) && mounts.isMounted(mounted.directory));
      if (other === undefined) await mounts.mount(directory, source, source.namesSizeBytes);
      else await mounts.bind(other.directory, directory);
      this.#mounted.set(snapshotId, { slot: names.slot, kind: source.kind, directory });
    });
  }

  async #restoreOne({ record, directory, names, isMounted }: Restore, signal: AbortSignal): Promise<void> {
    const { log, served } = this.#options;
    try {
      if (isMounted && names !== undefined) {
        await served.use(record.id, names);
        this.#mounted.set(record.id, { slot: names.slot, kind: 'files', directory });
      } else await this.#mountKnown(record.id, names, directory, signal);
    } catch (error) {
      signal.throwIfAborted();
      log.warn({ key: record.name, snapshotId: record.id, error }, 'failed to restore remote snapshot; it is tried again on use');
    }
  }

  async #mountKnown(snapshotId: number, names: KnownNames | undefined, directory: string, signal: AbortSignal): Promise<void> {
    if (names === undefined) throw new SnapshotError('UNAVAILABLE', `snapshot ${snapshotId}: its layer is not on disk`);
    await checkNames(names);
    await this.#mount(snapshotId, names, directory, signal);
  }

  /** Without a snapshot of its name an image is none of ours: to be read again it has to be pulled again. */
  #forgetUnused(reference: string): void {
    const { metadata, store, decisions } = this.#options;
    if (metadata.hasImage(reference)) return;
    store.removeReference(reference);
    decisions.forgetReference(reference);
  }

  #decline(image: ImageRequest, reason: string, error: unknown): LazyOutcome {
    const plan: ImagePlan = { kind: 'declined', cause: 'failed', reason, error };
    this.#options.decisions.replace(image, plan);
    return { ...plan, level: 'warn' };
  }
}
