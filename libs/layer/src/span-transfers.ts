import { hasCode } from '@soci/errors';
import type { Logger } from '@soci/log';
import { pause } from '@soci/process';
import type { BlobSource, FetchPriority } from './blob-source.ts';
import type { LayerCounters } from './counters.ts';
import type { DiskTrouble } from './disk-trouble.ts';
import { LayerError } from './errors.ts';
import { fetchSpans, type SpanRun } from './fetch-spans.ts';
import type { LayerData } from './layer-data.ts';
import type { LayerSource } from './layer-source.ts';
import type { LayerSpans } from './layer-spans.ts';
import type { SourceOrder } from './source-order.ts';
import { SpanPool } from './span-pool.ts';
import type { SpanWriter } from './span-writer.ts';

/** A layer that is served. */
export interface ServedLayer {
  readonly spans: LayerSpans;
  readonly sources: () => readonly LayerSource[];
  readonly order: SourceOrder;
  readonly log: Logger;
  /** Aborted when the layer is served no more. */
  readonly stop: AbortController;
  /** How often a span's digest was wrong, in a row. */
  readonly rejections: Map<number, number>;
  /** A fetch in the background failed: as in the Go snapshotter, the layer is left to its readers. */
  isFillOver: boolean;
}

export interface SpanTransfersOptions {
  readonly source: BlobSource;
  readonly log: Logger;
  readonly counters: LayerCounters;
  readonly disk: DiskTrouble;
  readonly maxSpanVerificationRetries: number;
  readonly stallMs: number;
  /** Something has changed: there may be work. */
  readonly wake: () => void;
  /** Spans of a layer that were as good as here are not. */
  readonly onAbsent: (served: ServedLayer) => void;
  readonly onComplete: ((layer: LayerData) => void) | undefined;
}

/** Between two tries of a layer whose sources all failed, at most. */
const MAX_PAUSE_MS = 2000;
/** How much longer than a check the pause after it is: a process that has just started has readers to serve, and what one of them wants is checked at once. */
const CHECK_PAUSE_FACTOR = 4;
/** References of a layer that are tried for one request. */
const MAX_SOURCES_TRIED = 4;

/** Brings spans from registries to the disk, and checks those that are there; tells the layers what came of it. */
export class SpanTransfers implements AsyncDisposable {
  /** Requests under way, of all layers. */
  readonly active: Record<FetchPriority, number> = { demand: 0, 'read-ahead': 0, fill: 0 };
  readonly #options: SpanTransfersOptions;
  readonly #pool = new SpanPool();
  readonly #running = new Set<Promise<void>>();
  /** Ends with the last layer's checks. */
  #checks: Promise<void> = Promise.resolve();

  constructor(options: SpanTransfersOptions) {
    this.#options = options;
  }

  open({ spans, stop }: ServedLayer): void {
    this.#pool.open(spans.layer);
    stop.signal.addEventListener('abort', () => this.#pool.close(spans.layer), { once: true });
  }

  /** Fetches a run in the background. */
  start(served: ServedLayer, run: SpanRun): void {
    this.#track(this.fetch(served, run));
  }

  /** Fetches a run over the layer's sources in turn. Never rejects because of one. */
  async fetch(served: ServedLayer, run: SpanRun): Promise<void> {
    const { spans, stop, log } = served;
    this.active[run.priority]++;
    spans.active[run.priority]++;
    const rest = { ...run };
    this.#pool.begin();
    try {
      const failures: unknown[] = [];
      for (const source of sourcesOf(served, failures)) {
        try {
          await this.#fetchFrom(source, served, rest);
          return;
        } catch (error) {
          if (stop.signal.aborted) return;
          failures.push(error);
          served.order.failed(source, error);
          log.debug({ ref: source.reference, span: rest.first, error }, 'span request failed');
        }
      }
      const isFirst = spans.attempt === 0;
      spans.undelivered(rest, MAX_PAUSE_MS);
      if (run.priority === 'fill') this.#endFill(served);
      if (isFirst) log.warn({ span: rest.first, waiting: spans.reads.size, error: failures[0] }, 'spans cannot be fetched, will retry');
    } finally {
      this.active[run.priority]--;
      spans.active[run.priority]--;
      this.#options.wake();
    }
  }

  /** Checks what an unclean stop left: one layer after the other, behind whatever else there is to do. */
  startVerifying(served: ServedLayer): void {
    const checks = this.#checks.then(() => this.#verifyAll(served));
    this.#checks = checks.catch(() => undefined); // told by the one who runs it
    this.#track(checks);
  }

  /** Checks one span now: somebody waits for it. */
  verify(served: ServedLayer, span: number): void {
    this.#track(this.#verify(served, span));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool[Symbol.asyncDispose]();
    await Promise.allSettled(this.#running);
  }

  /** @param rest its `first` moves on as spans are handed over: the next source starts where this one stopped */
  async #fetchFrom(source: LayerSource, served: ServedLayer, rest: { -readonly [Key in keyof SpanRun]: SpanRun[Key] }): Promise<void> {
    const { spans, stop } = served;
    const { counters, stallMs } = this.#options;
    const { priority } = rest;
    counters.requests[priority]++;
    const sink = {
      received: (bytes: number): void => void (counters.bytesFetched[priority] += bytes),
      admit: (span: number, signal: AbortSignal) => this.#pool.admit(spans.layer, span, signal),
      begin: (span: number, memory: Disposable): SpanWriter => this.#pool.write(spans.layer, span, memory),
      complete: (span: number, writer: SpanWriter): Promise<void> | undefined => {
        rest.first = span + 1;
        spans.storing(span);
        this.#track(this.#store(served, span, writer, priority));
        return this.#pool.isFull ? this.#pool.hasRoom() : undefined;
      },
    };
    await fetchSpans(this.#options.source, source, { ...rest }, sink, stallMs, stop.signal);
  }

  async #store(served: ServedLayer, span: number, writer: SpanWriter, priority: FetchPriority): Promise<void> {
    const { spans, stop } = served;
    try {
      const checksum = await writer.stored;
      if (stop.signal.aborted) return;
      served.rejections.delete(span);
      this.#options.counters.spansStored++;
      this.#options.disk.worked();
      spans.stored(span, checksum, priority);
      if (spans.layer.isFilled) await this.#complete(served);
    } catch (error) {
      if (stop.signal.aborted) return;
      if (hasCode(error, 'DISK_FAILED')) {
        this.#options.disk.failed(spans.layer.digest, error);
        spans.failed(span, 'disk');
        this.#options.onAbsent(served);
        return;
      }
      if (priority === 'fill') this.#endFill(served);
      this.#reject(served, span, error);
    }
  }

  /** A span that came and cannot be used. */
  #reject({ spans, log, rejections }: ServedLayer, span: number, error: unknown): void {
    const { counters, maxSpanVerificationRetries, wake } = this.#options;
    counters.spansRejected++;
    const count = (rejections.get(span) ?? 0) + 1;
    const willRetry = error instanceof LayerError && error.code === 'DIGEST_MISMATCH' && count <= maxSpanVerificationRetries;
    log.error({ span, error, willRetry }, 'span rejected');
    if (willRetry) {
      rejections.set(span, count);
      spans.again(span);
    } else {
      rejections.delete(span);
      spans.failed(span, error instanceof LayerError && error.code !== 'STORE_BROKEN' ? 'mismatch' : 'disk');
    }
    wake();
  }

  async #complete({ spans: { layer }, log }: ServedLayer): Promise<void> {
    try {
      await layer.flush();
      if (layer.isComplete) this.#options.onComplete?.(layer);
    } catch (error) {
      log.error({ error }, 'layer data cannot be flushed'); // the store's flusher tries again
    }
  }

  #endFill(served: ServedLayer): void {
    this.#options.counters.fillFailures++;
    served.isFillOver = true;
  }

  async #verifyAll(served: ServedLayer): Promise<void> {
    const { spans, stop, log } = served;
    const started = performance.now();
    const { size } = spans.layer.suspects;
    for (const span of [...spans.layer.suspects]) {
      if (stop.signal.aborted) return;
      if (!spans.isSuspect(span)) continue;
      const begin = performance.now();
      await this.#verify(served, span);
      await pause(CHECK_PAUSE_FACTOR * (performance.now() - begin), stop.signal);
    }
    const durationMs = Math.round(performance.now() - started);
    log.info({ spans: size, kept: spans.layer.storedCount, durationMs }, 'layer data checked after an unclean stop');
  }

  async #verify(served: ServedLayer, span: number): Promise<void> {
    const { spans, stop, log } = served;
    spans.storing(span);
    try {
      const checksum = await this.#pool.verify(spans.layer, span);
      if (stop.signal.aborted) return;
      spans.stored(span, checksum, 'fill');
      if (spans.layer.isFilled) await this.#complete(served);
    } catch (error) {
      if (stop.signal.aborted) return;
      log.warn({ span, error }, 'span on disk is not what was written, will be fetched again');
      spans.layer.dropSuspect(span);
      spans.again(span);
      this.#options.wake();
    }
  }

  #track(task: Promise<void>): void {
    this.#running.add(task);
    void task
      .catch((error: unknown) => this.#options.log.error({ error }, 'layer engine: unexpected failure'))
      .finally(() => this.#running.delete(task));
  }
}

/** Why there are none goes to `failures`: a run that is not given back would be fetched by nobody ever after. */
function sourcesOf({ sources, order }: ServedLayer, failures: unknown[]): readonly LayerSource[] {
  try {
    const found = order.inOrder(sources()).slice(0, MAX_SOURCES_TRIED);
    if (found.length === 0) failures.push(new LayerError('NO_SOURCE', 'no image refers to this layer'));
    return found;
  } catch (error) {
    failures.push(error);
    return [];
  }
}
