import type { Logger } from '@soci/log';
import { BackgroundFill, type BackgroundFillOptions } from './background-fill.ts';
import type { BlobSource, FetchPriority } from './blob-source.ts';
import { type LayerCounters, newCounters } from './counters.ts';
import { LayerError } from './errors.ts';
import { fetchSpans, type SpanRun } from './fetch-spans.ts';
import type { LayerData } from './layer-data.ts';
import { LayerSpans, type ReplySink, type SpansHost } from './layer-spans.ts';
import { SpanPool } from './span-pool.ts';
import type { SpanWriter } from './span-writer.ts';

/** An image through which a layer can be read. */
export interface LayerSource {
  readonly reference: string;
  readonly repository: string;
  readonly namespaces: readonly string[];
}

/** A READ whose bytes were not there, as the serving threads post it. */
export interface Miss {
  readonly slot: number;
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

export interface LayerEngineOptions {
  readonly source: BlobSource;
  readonly replies: ReplySink;
  readonly log: Logger;
  /** `[blob] read_timeout_sec`: after that a waiting read is answered with EIO. */
  readonly readTimeoutMs?: number;
  /** `[blob] max_span_verification_retries`: how often a span is fetched again after a digest mismatch. */
  readonly maxSpanVerificationRetries?: number;
  /** `[background_fetch]`; absent: off. */
  readonly backgroundFetch?: BackgroundFillOptions;
  /** A layer has become complete: its bytes will never need anybody again. */
  readonly onComplete?: (layer: LayerData) => void;
  readonly now?: () => number;
  /** How long a source may be silent within a request. */
  readonly stallMs?: number;
}

const READ_TIMEOUT_MS = 30_000;
const STALL_MS = 10_000;
/** Between two tries of a layer whose sources all failed, at most. */
const MAX_PAUSE_MS = 2000;
/** How often waiting reads are looked at. */
const SWEEP_MS = 200;
const LIMITS: Readonly<Record<FetchPriority, { readonly perLayer: number; readonly total: number }>> = {
  demand: { perLayer: 8, total: 48 },
  'read-ahead': { perLayer: 2, total: 6 },
  fill: { perLayer: 1, total: 2 },
};
/** References of a layer that are tried for one request. */
const MAX_SOURCES_TRIED = 4;

interface Attached {
  readonly spans: LayerSpans;
  readonly sources: () => readonly LayerSource[];
  readonly slots: Set<number>;
  readonly stop: AbortController;
  readonly log: Logger;
  readonly rejections: Map<number, number>;
  /** A fetch in the background failed: as in the Go snapshotter, the layer is left to its readers. */
  isFillOver: boolean;
}

/**
 * Brings the bytes of layers that reads wait for: finds the spans, fetches neighbours with one request, has them checked and stored, answers.
 * Lives on the main thread and does nothing long there. Demand goes before read-ahead, read-ahead before background fill; a read joins
 * a fetch that is under way. No read waits longer than `readTimeoutMs`.
 */
export class LayerEngine implements AsyncDisposable {
  readonly counters: LayerCounters = newCounters();
  readonly #options: LayerEngineOptions;
  readonly #host: SpansHost;
  readonly #pool = new SpanPool();
  readonly #bySlot = new Map<number, Attached>();
  readonly #byLayer = new Map<LayerData, Attached>();
  readonly #active = { demand: 0, 'read-ahead': 0, fill: 0 };
  readonly #fill: BackgroundFill<Attached> | undefined;
  readonly #running = new Set<Promise<void>>();
  #sweeper: NodeJS.Timeout | undefined;
  #isDispatching = false;

  constructor(options: LayerEngineOptions) {
    this.#options = options;
    const { replies, log, readTimeoutMs = READ_TIMEOUT_MS, now = () => performance.now() } = options;
    this.#host = {
      replies,
      log,
      readTimeoutMs,
      now,
      counters: this.counters,
      wake: () => this.#wake(),
      verify: (spans, span) => this.#verify(spans, span),
    };
    if (options.backgroundFetch !== undefined) {
      this.#fill = new BackgroundFill<Attached>(options.backgroundFetch, {
        now,
        isBusy: () => this.#active.demand > 0 || this.#waitingReads() > 0,
        fillOne: async (attached) => this.#fillOne(attached),
        evicted: () => this.counters.fillQueueEvicted++,
      });
    }
  }

  /**
   * Serves a layer under a slot of the FUSE mount; a layer may have several.
   * @param sources images through which it can be read now, newest first; asked before each request
   */
  attach(slot: number, layer: LayerData, sources: () => readonly LayerSource[]): void {
    const known = this.#byLayer.get(layer);
    if (known !== undefined) {
      known.slots.add(slot);
      this.#bySlot.set(slot, known);
      return;
    }
    this.#pool.open(layer);
    const log = this.#options.log.child({ layerDigest: layer.digest });
    const attached: Attached = {
      spans: new LayerSpans(layer, this.#host),
      sources,
      slots: new Set([slot]),
      stop: new AbortController(),
      log,
      rejections: new Map(),
      isFillOver: false,
    };
    this.#byLayer.set(layer, attached);
    this.#bySlot.set(slot, attached);
    if (layer.suspects.size > 0) this.#track(this.#verifyAll(attached));
    if (!layer.isComplete) this.#fill?.add(attached);
  }

  /** Ends serving a slot. With the layer's last one its fetches stop and its waiting reads are answered with EIO. The files stay open: they are the caller's. */
  detach(slot: number): void {
    const attached = this.#bySlot.get(slot);
    this.#bySlot.delete(slot);
    if (attached === undefined || !attached.slots.delete(slot) || attached.slots.size > 0) return;
    const { layer } = attached.spans;
    attached.stop.abort(new LayerError('CLOSED', `layer ${layer.digest}: no longer served`));
    attached.spans.refuseAll('unavailable');
    this.#fill?.remove(attached);
    this.#pool.close(layer);
    this.#byLayer.delete(layer);
  }

  onMiss({ slot, uniqueLow, uniqueHigh, offsetBytes, sizeBytes }: Miss): void {
    this.counters.misses++;
    const attached = this.#bySlot.get(slot);
    if (attached !== undefined) {
      attached.spans.miss(uniqueLow, uniqueHigh, offsetBytes, sizeBytes);
      return;
    }
    this.counters.readsFailed['unknown-slot']++;
    this.#options.replies.replyError(uniqueLow, uniqueHigh, 5);
  }

  /** Fetches spans of an attached layer that nobody reads yet, at read-ahead's priority. */
  prefetch(layer: LayerData, firstSpan: number, lastSpan: number): void {
    this.#byLayer.get(layer)?.spans.plan(firstSpan, lastSpan);
  }

  /** Something changed (credentials, a reference, the network): what failed before is tried at once. */
  retryNow(): void {
    for (const { spans } of this.#byLayer.values()) spans.retryNow();
    this.#wake();
  }

  /** Layers whose background fill is queued. */
  get fillQueueSize(): number {
    return this.#fill?.size ?? 0;
  }

  /** Stops all work. Reads that wait are left unanswered: whoever holds the FUSE descriptor next gets them again. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#sweeper);
    this.#fill?.[Symbol.dispose]();
    for (const { spans, stop } of this.#byLayer.values()) {
      stop.abort(new LayerError('CLOSED', 'layer engine is closed'));
      spans.stop();
    }
    this.#byLayer.clear();
    this.#bySlot.clear();
    await this.#pool[Symbol.asyncDispose]();
    await Promise.allSettled(this.#running);
  }

  #waitingReads(): number {
    let count = 0;
    for (const { spans } of this.#byLayer.values()) count += spans.reads.size;
    return count;
  }

  /** Dispatches once all that has come in by now was seen, so that neighbours go into one request. */
  #wake(): void {
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS).unref();
    if (this.#isDispatching) return;
    this.#isDispatching = true;
    setImmediate(() => {
      this.#isDispatching = false;
      this.#dispatch();
    });
  }

  #dispatch(): void {
    const layers = [...this.#byLayer.values()];
    this.#start('demand', layers, ({ spans }) => spans.nextDemand());
    this.#start('read-ahead', layers, ({ spans }) => spans.nextReadAhead());
  }

  #start(priority: FetchPriority, layers: readonly Attached[], next: (attached: Attached) => SpanRun | undefined): void {
    const { perLayer, total } = LIMITS[priority];
    for (const attached of layers) {
      while (this.#active[priority] < total && attached.spans.active[priority] < perLayer) {
        const run = next(attached);
        if (run === undefined) break;
        this.#track(this.#fetch(attached, run));
      }
    }
  }

  #track(task: Promise<void>): void {
    this.#running.add(task);
    void task
      .catch((error: unknown) => this.#options.log.error({ error }, 'layer engine: unexpected failure'))
      .finally(() => this.#running.delete(task));
  }

  /** One run, over the layer's sources in turn, newest first. */
  async #fetch(attached: Attached, run: SpanRun): Promise<void> {
    const { spans, stop, log } = attached;
    this.#active[run.priority]++;
    spans.active[run.priority]++;
    let first = run.first;
    try {
      const failures: unknown[] = [];
      const sources = attached.sources().slice(0, MAX_SOURCES_TRIED);
      if (sources.length === 0) failures.push(new LayerError('NO_SOURCE', 'no image refers to this layer'));
      for (const source of sources) {
        try {
          this.counters.requests[run.priority]++;
          await fetchSpans(
            this.#options.source,
            source,
            { ...run, first },
            {
              received: (bytes) => void (this.counters.bytesFetched[run.priority] += bytes),
              begin: (span) => this.#pool.write(spans.layer, span),
              complete: (span, writer) => {
                first = span + 1;
                spans.storing(span);
                this.#track(this.#stored(attached, span, writer, run.priority));
                return this.#pool.isFull ? this.#pool.hasRoom() : undefined;
              },
            },
            this.#options.stallMs ?? STALL_MS,
            stop.signal,
          );
          return;
        } catch (error) {
          if (stop.signal.aborted) return;
          failures.push(error);
          log.debug({ ref: source.reference, span: first, error }, 'span request failed');
        }
      }
      const attempt = spans.attempt;
      spans.undelivered({ ...run, first }, MAX_PAUSE_MS);
      if (run.priority === 'fill') this.#endFill(attached);
      if (attempt === 0)
        log.warn({ span: first, waiting: spans.reads.size, error: firstOf(failures) }, 'spans cannot be fetched, will retry');
    } finally {
      this.#active[run.priority]--;
      spans.active[run.priority]--;
      this.#wake();
    }
  }

  async #stored(attached: Attached, span: number, writer: SpanWriter, priority: FetchPriority): Promise<void> {
    const { spans, stop } = attached;
    try {
      const checksum = await writer.stored;
      if (stop.signal.aborted) return;
      attached.rejections.delete(span);
      this.counters.spansStored++;
      spans.stored(span, checksum, priority);
      if (spans.layer.isFilled) this.#track(this.#complete(attached));
    } catch (error) {
      if (stop.signal.aborted) return;
      if (priority === 'fill') this.#endFill(attached);
      this.#rejected(attached, span, error);
    }
  }

  /** A span that came and cannot be used. */
  #rejected(attached: Attached, span: number, error: unknown): void {
    const { spans, log } = attached;
    this.counters.spansRejected++;
    const isMismatch = error instanceof LayerError && error.code === 'DIGEST_MISMATCH';
    const rejections = (attached.rejections.get(span) ?? 0) + 1;
    const mayRetry = isMismatch && rejections <= (this.#options.maxSpanVerificationRetries ?? 0);
    log.error({ span, error, willRetry: mayRetry }, 'span rejected');
    if (mayRetry) {
      attached.rejections.set(span, rejections);
      spans.again(span);
    } else {
      attached.rejections.delete(span);
      spans.failed(span, error instanceof LayerError && error.code !== 'STORE_BROKEN' ? 'mismatch' : 'disk');
    }
    this.#wake();
  }

  async #complete({ spans: { layer }, log }: Attached): Promise<void> {
    try {
      await layer.flush();
      if (layer.isComplete) this.#options.onComplete?.(layer);
    } catch (error) {
      log.error({ error }, 'layer data cannot be flushed'); // the store's flusher tries again
    }
  }

  async #fillOne(attached: Attached): Promise<boolean> {
    const run = attached.spans.nextFill();
    if (run !== undefined) await this.#fetch(attached, run);
    return attached.spans.hasAbsent && !attached.isFillOver;
  }

  #endFill(attached: Attached): void {
    this.counters.fillFailures++;
    attached.isFillOver = true;
  }

  #verify(spans: LayerSpans, span: number): void {
    const attached = this.#byLayer.get(spans.layer);
    if (attached !== undefined) this.#track(this.#verifyOne(attached, span));
  }

  /** Checks what an unclean stop left, one span at a time behind whatever else there is to do. */
  async #verifyAll(attached: Attached): Promise<void> {
    const { spans, stop, log } = attached;
    const started = performance.now();
    const { size } = spans.layer.suspects;
    for (const span of [...spans.layer.suspects]) {
      if (stop.signal.aborted) return;
      if (spans.isSuspect(span)) await this.#verifyOne(attached, span);
    }
    log.info(
      { spans: size, kept: spans.layer.storedCount, durationMs: Math.round(performance.now() - started) },
      'layer data checked after an unclean stop',
    );
  }

  async #verifyOne(attached: Attached, span: number): Promise<void> {
    const { spans, stop, log } = attached;
    spans.storing(span);
    try {
      const checksum = await this.#pool.verify(spans.layer, span);
      if (stop.signal.aborted) return;
      spans.stored(span, checksum, 'fill');
      if (spans.layer.isFilled) await this.#complete(attached);
    } catch (error) {
      if (stop.signal.aborted) return;
      log.warn({ span, error }, 'span on disk is not what was written, will be fetched again');
      spans.layer.dropSuspect(span);
      spans.again(span);
      this.#wake();
    }
  }

  #sweep(): void {
    let waiting = 0;
    const now = this.#host.now();
    for (const { spans, log } of this.#byLayer.values()) {
      if (spans.reads.size === 0) continue;
      const { count, span } = spans.expire(now);
      if (count > 0) log.warn({ span, reads: count }, 'reads waited too long, answered with EIO');
      waiting += spans.reads.size;
    }
    this.#dispatch();
    if (waiting > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }
}

function firstOf(failures: readonly unknown[]): unknown {
  return failures[0];
}
