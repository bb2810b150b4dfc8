import { describeError, hasCode } from '@soci/errors';
import type { LayerNames, LayerStore } from '@soci/layer';
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
import type { RestoreProgress } from './restore-progress.ts';
import type { ServedLayers } from './served-layers.ts';
import type { SnapshotRecord } from './snapshot.ts';
import type { SnapshotDirectories } from './snapshot-directories.ts';
import type { StandingMounts } from './standing-mounts.ts';
import type { UnusedArtifacts } from './unused-artifacts.ts';

export interface LazySnapshotsOptions {
  readonly decisions: ImageDecisions;
  readonly served: ServedLayers;
  readonly mounts: LayerMounts;
  readonly store: Pick<LayerStore, 'names' | 'namesChecksums' | 'addSource' | 'removeReference' | 'images' | 'compact'>;
  /** Where a snapshot whose image was planned anew is noted. */
  readonly metadata: Pick<MetadataStore, 'updateLabels' | 'list' | 'hasImage' | 'getById'>;
  readonly directories: SnapshotDirectories;
  /** What an earlier process has left mounted. */
  readonly standing: StandingMounts;
  readonly progress: RestoreProgress;
  readonly unused: Pick<UnusedArtifacts, 'release'>;
  readonly log: Logger;
  /** Where lists of spans are fetched early. */
  readonly prefetch?: Pick<Prefetch, 'start' | 'stop'> | undefined;
}

interface Mounted {
  readonly slot: number;
  readonly kind: MountSource['kind'];
  readonly directory: string;
}

interface Target {
  readonly record: SnapshotRecord;
  readonly directory: string;
  readonly names: KnownNames | undefined;
}

/** Restores under way at the same time: mounts themselves are made one by one. */
const MAX_RESTORES = 8;
/** Longer than a pull waits between the plan of its image and the last mount; one that comes later plans anew. */
const MAX_UNUSED_MS = 15 * 60_000;

const never = new AbortController().signal;

/** Layers mounted from names images of the layer store, as the plan of their image says. */
export class LazySnapshots implements LazyLayers {
  readonly #options: LazySnapshotsOptions;
  /** By slot: who mounts one sees whether somebody else has, and nobody binds to a directory that is being unmounted. */
  readonly #locks = new KeyLocks();
  /** By snapshot id: what is restored and what is used meanwhile are not mounted over each other. */
  readonly #snapshots = new KeyLocks();
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
        decisions.forget(image, plan);
      }
    }
  }

  remove(snapshotId: number): Promise<void> {
    const { mounts, served, standing, directories, progress, prefetch } = this.#options;
    const directory = directories.fsPathOf(snapshotId);
    return this.#snapshots.run(String(snapshotId), never, async () => {
      const unmount = async (): Promise<void> => {
        this.#mounted.delete(snapshotId);
        await mounts.unmount(directory);
      };
      const mounted = this.#mounted.get(snapshotId);
      standing.adopt(directory);
      if (mounted === undefined) await unmount();
      else await this.#locks.run(String(mounted.slot), never, unmount);
      const gone = await served.release(snapshotId);
      if (gone !== undefined) prefetch?.stop(gone);
      progress.done(snapshotId);
    });
  }

  forgotten({ labels }: SnapshotRecord): void {
    const reference = labels[LABEL.imageRef];
    if (reference !== undefined) this.#forgetUnused(reference);
  }

  /**
   * Brings the layers of an earlier process back, from what is on disk alone: mounts that go on first, then those that have to be made again. Those that cannot be
   * are left for {@link ensureMounted}. Never rejects because of one.
   * @param onServed called when all mounts that go on are served
   */
  async restore(records: readonly SnapshotRecord[], onServed: () => void, signal: AbortSignal): Promise<void> {
    const { standing, progress, store } = this.#options;
    progress.begin(records.map(({ id }) => id));
    const targets = records.map((record) => this.#targetOf(record));
    const goesOn = ({ directory, names }: Target): boolean => names !== undefined && standing.kindAt(directory, names) !== undefined;
    await standing.keepOnly(new Set(targets.map(({ directory }) => directory)));
    await this.#restoreAll(targets.filter(goesOn), signal);
    onServed();
    await this.#restoreAll(
      targets.filter(({ record }) => !this.#mounted.has(record.id)),
      signal,
    );
    progress.finish();
    for (const { reference } of store.images()) this.#forgetUnused(reference);
  }

  async cleanup(signal: AbortSignal): Promise<void> {
    const { served, store, metadata, decisions, unused } = this.#options;
    const idle = await served.idleKeys(MAX_UNUSED_MS);
    signal.throwIfAborted();
    // A snapshot that could not be restored uses its layer all the same.
    const used = metadata.list().flatMap(({ labels }) => namesOfLabels(labels, store)?.layerKey ?? []);
    await served.deleteUnused(new Set(used), idle);
    unused.release();
    store.compact();
    decisions.compact();
  }

  async ensureMounted({ record, chain, directory }: LazySnapshot, signal: AbortSignal): Promise<void> {
    if (this.#mounted.has(record.id)) return;
    const { metadata, progress } = this.#options;
    try {
      await this.#bringBack(this.#targetOf(record), signal);
    } catch (cause) {
      signal.throwIfAborted();
      const named = imageOfLabels(record.labels, record.labels[LABEL.namespace] ?? '');
      if ('missing' in named) throw cause;
      const planned = await this.#mountPlanned({ record, chain, directory }, named, cause, signal);
      metadata.updateLabels(record.name, (labels) => ({ ...labels, ...namesLabel(planned) }));
    }
    progress.done(record.id);
  }

  /** As the plan of its image says; one that was made before its layers went is made anew. @throws `cause` when there is no such plan */
  async #mountPlanned(
    { record, chain, directory }: LazySnapshot,
    { image, layerDigest }: { readonly image: ImageRequest; readonly layerDigest: string },
    cause: unknown,
    signal: AbortSignal,
  ): Promise<LayerNames> {
    const { decisions, standing } = this.#options;
    for (let attempt = 0; ; attempt++) {
      const { plan } = await decisions.decide(image, record.name, signal);
      const planned = plan.kind === 'lazy' ? layerOfPlan(plan.layers, layerDigest, chain.length) : undefined;
      if (planned === undefined) throw cause;
      try {
        await this.#snapshots.run(String(record.id), signal, async () => {
          await standing.replace(directory);
          await this.#mount(record.id, planned, directory, signal);
        });
        return planned;
      } catch (error) {
        if (!hasCode(error, 'NOT_FOUND', 'ENOENT') || attempt > 0) throw error;
        decisions.forget(image, plan);
      }
    }
  }

  #mount(snapshotId: number, names: LayerNames, directory: string, signal: AbortSignal): Promise<void> {
    const { served, mounts, directories } = this.#options;
    return this.#locks.run(String(names.slot), signal, async () => {
      if (this.#mounted.has(snapshotId)) return;
      const source = await served.use(snapshotId, names);
      await directories.ensure(snapshotId);
      const isSame = ({ slot, kind }: Mounted): boolean => slot === names.slot && kind === source.kind;
      const other = await this.#findMounted(isSame);
      if (other === undefined) await mounts.mount(directory, source, source.namesSizeBytes);
      else await mounts.bind(other.directory, directory);
      this.#mounted.set(snapshotId, { slot: names.slot, kind: source.kind, directory });
    });
  }

  async #findMounted(isWanted: (mounted: Mounted) => boolean): Promise<Mounted | undefined> {
    for (const mounted of this.#mounted.values()) {
      if (isWanted(mounted) && (await this.#options.mounts.isMounted(mounted.directory))) return mounted;
    }
    return undefined;
  }

  #targetOf(record: SnapshotRecord): Target {
    const { directories, store } = this.#options;
    return { record, directory: directories.fsPathOf(record.id), names: namesOfLabels(record.labels, store) };
  }

  async #restoreAll(targets: readonly Target[], signal: AbortSignal): Promise<void> {
    const pending = targets.values();
    const worker = async (): Promise<void> => {
      for (const target of pending) {
        signal.throwIfAborted();
        await this.#restoreOne(target, signal);
      }
    };
    await Promise.all(Array.from({ length: MAX_RESTORES }, worker));
  }

  async #restoreOne(target: Target, signal: AbortSignal): Promise<void> {
    const { log, progress } = this.#options;
    const { id, name, labels } = target.record;
    try {
      await this.#bringBack(target, signal);
      progress.done(id);
    } catch (error) {
      signal.throwIfAborted();
      progress.failed(id, { key: name, layerDigest: labels[LABEL.layerDigest] ?? '', reason: describeError(error) });
      log.warn({ key: name, snapshotId: id, error }, 'failed to restore remote snapshot; it is tried again on use');
    }
  }

  /** Takes over the mount that an earlier process has made, where it goes on; makes another one otherwise. */
  #bringBack({ record: { id }, directory, names }: Target, signal: AbortSignal): Promise<void> {
    const { metadata, served, standing } = this.#options;
    return this.#snapshots.run(String(id), signal, async () => {
      if (this.#mounted.has(id) || metadata.getById(id) === undefined) return; // somebody used it, or removed it, meanwhile
      if (names === undefined) throw new SnapshotError('UNAVAILABLE', `snapshot ${id}: its layer is not on disk`);
      const kind = standing.kindAt(directory, names);
      if (kind === undefined) {
        await checkNames(names);
        await standing.replace(directory);
        await this.#mount(id, names, directory, signal);
        return;
      }
      await served.use(id, names, kind);
      standing.adopt(directory);
      this.#mounted.set(id, { slot: names.slot, kind, directory });
    });
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
