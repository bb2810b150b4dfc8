import type { Logger } from '@soci/log';
import { hasCode } from '@soci/errors';
import { SnapshotError } from './errors.ts';
import { isRemote, LABEL, namespaceOfKey, REMOTE_LABEL_VALUE } from './labels.ts';
import type { LazyLayers, LazyOutcome } from './lazy-layers.ts';
import type { MetadataStore } from './metadata-store.ts';
import type { SnapshotDirectories } from './snapshot-directories.ts';
import { NO_USAGE, type Labels, type SnapshotRecord } from './snapshot.ts';
import type { SnapshotRequest } from './snapshotter.ts';

export interface LayerPreparationOptions {
  readonly store: MetadataStore;
  readonly directories: SnapshotDirectories;
  readonly lazy: LazyLayers;
  readonly log: Logger;
  readonly onLazyFailure?: () => unknown;
}

/** Fields of log lines that tools look for; the values are texts. */
const PREPARED = 'remote-snapshot-prepared';
const DEFERRED = 'defer-snapshot-runtime';
const DEFER_MESSAGES = {
  'no-index': 'no valid SOCI index found; deferring to container runtime',
  disabled: 'layers are not served lazily here; deferring to container runtime',
  failed: 'failed to prepare remote snapshot; deferring to container runtime',
} as const;

/**
 * The part of Prepare that is about layers of images. containerd names the layer it is about to pull as the target; when the snapshotter
 * can serve it, it commits it under that name and answers that it exists already, and containerd pulls nothing.
 */
export class LayerPreparation {
  readonly #options: LayerPreparationOptions;

  constructor(options: LayerPreparationOptions) {
    this.#options = options;
  }

  /**
   * Returns when the runtime has to pull the layer.
   * @throws {SnapshotError} `ALREADY_EXISTS` when it is served lazily, and committed as the target; also when it was before
   */
  async prepare(record: SnapshotRecord, request: SnapshotRequest, signal: AbortSignal): Promise<void> {
    const target = request.labels[LABEL.target];
    if (target === undefined || target === '') return;
    const { store, directories, lazy } = this.#options;
    await this.#assertMissing(target, request.parent, signal);
    const namespace = namespaceOfKey(request.key) ?? request.namespace;
    const log = this.#options.log.child({ key: request.key, parent: request.parent });
    if (namespace === undefined) {
      this.#report(log, declined('the call names no containerd namespace'), request.labels);
      return;
    }
    if (store.get(target) !== undefined) {
      this.#report(log, declined('a snapshot of this name cannot be mounted, or stands on another parent'), request.labels);
      return;
    }
    const lazyRequest = { snapshotId: record.id, target, namespace, labels: request.labels };
    const place = { chain: store.ancestors(record.id), directory: directories.fsPathOf(record.id) };
    const outcome = await lazy.prepare({ ...lazyRequest, ...place }, signal);
    this.#report(log, outcome, request.labels);
    if (outcome.kind === 'declined') return;
    this.#commit(record, target, {
      ...request.labels,
      ...outcome.labels,
      [LABEL.remote]: REMOTE_LABEL_VALUE,
      [LABEL.hasIndex]: 'true',
      [LABEL.namespace]: namespace,
    });
    throw alreadyExists(target);
  }

  /** @throws {SnapshotError} `ALREADY_EXISTS` when the layer is there already and can be used: for another namespace, or by an earlier try */
  async #assertMissing(target: string, parent: string, signal: AbortSignal): Promise<void> {
    const existing = this.#options.store.get(target);
    if (existing === undefined || !isServedFor(existing, parent)) return;
    const { store, directories, lazy, log } = this.#options;
    try {
      const chain = store.ancestors(existing.id);
      if (isRemote(existing.labels))
        await lazy.ensureMounted({ record: existing, chain, directory: directories.fsPathOf(existing.id) }, signal);
    } catch (error) {
      signal.throwIfAborted();
      log.warn({ target, error }, 'layer is known but cannot be mounted');
      return;
    }
    throw alreadyExists(existing.name);
  }

  /** That somebody else was faster is as good as success, as long as containerd will find that one under the same parent. */
  #commit({ name, parent }: SnapshotRecord, target: string, labels: Labels): void {
    const { store } = this.#options;
    try {
      store.commit({ key: name, name: target, labels, usage: NO_USAGE, parent: '' });
    } catch (cause) {
      const existing = store.get(target);
      const isServed = hasCode(cause, 'ALREADY_EXISTS') && existing !== undefined && isServedFor(existing, parent);
      if (!isServed) throw cause;
    }
  }

  #report(log: Logger, outcome: LazyOutcome, labels: Labels): void {
    const fields = { ref: labels[LABEL.imageRef], layerDigest: labels[LABEL.layerDigest] };
    if (outcome.kind === 'lazy') {
      log.info({ ...fields, [PREPARED]: 'true' }, 'remote snapshot successfully prepared.');
      return;
    }
    const { cause, reason, error, level } = outcome;
    if (cause === 'failed') this.#options.onLazyFailure?.();
    const line = { ...fields, [PREPARED]: 'false', [DEFERRED]: 'true', reason, error };
    const message = DEFER_MESSAGES[cause];
    if (level === 'warn') log.warn(line, message);
    else log.info(line, message);
  }
}

/** containerd looks for a committed snapshot that carries the target as its label and stands on the same parent. */
function isServedFor({ name, kind, parent, labels }: SnapshotRecord, requestedParent: string): boolean {
  return kind === 'committed' && parent === requestedParent && labels[LABEL.target] === name;
}

function declined(reason: string): LazyOutcome {
  return { kind: 'declined', cause: 'failed', reason, level: 'warn' };
}

function alreadyExists(target: string): SnapshotError {
  return new SnapshotError('ALREADY_EXISTS', `target snapshot "${target}": already exists`);
}
