import type { Logger } from '@soci/log';
import { BackgroundFill, type BackgroundFillOptions } from './background-fill.ts';
import type { BlobSource, BlobSourceChange, FetchPriority } from './blob-source.ts';
import { type LayerCounters, newCounters } from './counters.ts';
import { DiskTrouble } from './disk-trouble.ts';
import { LayerError } from './errors.ts';
import type { SpanRun } from './fetch-spans.ts';
import type { LayerData } from './layer-data.ts';
import { hostOf, type LayerSource } from './layer-source.ts';
import { LayerSpans, type ReplySink, type SpansHost } from './layer-spans.ts';
import { PacedChanges } from './paced-changes.ts';
import { SourceOrder } from './source-order.ts';
import { type ServedLayer, SpanTransfers } from './span-transfers.ts';

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
  /** A read that waited was answered, with bytes or with EIO. */
  readonly onWaited?: ((seconds: number) => void) | undefined;
  readonly now?: () => number;
  /** How long a source may be silent within a request. */
  readonly stallMs?: number;
}

const EIO = 5;
const READ_TIMEOUT_MS = 30_000;
const STALL_MS = 10_000;
/** How often waiting reads are looked at. */
const SWEEP_MS = 200;
const LIMITS: Readonly<Record<FetchPriority, { readonly perLayer: number; readonly total: number }>> = {
  demand: { perLayer: 8, total: 48 },
  'read-ahead': { perLayer: 2, total: 6 },
  fill: { perLayer: 1, total: 2 },
};
/** Of a layer whose last request failed: one that hangs does not take the places of those that do not. */
const MAX_TRIES_PER_LAYER = 1;

/**
 * Brings the bytes of layers that reads wait for: finds the spans, fetches neighbours with one request, has them checked and stored, answers.
 * Lives on the main thread and does nothing long there. Demand goes before read-ahead, read-ahead before background fill; a read joins
 * a fetch that is under way. No read waits longer than `readTimeoutMs`; one whose fetch failed is tried again after a pause, or when the source says that something changed.
 */
export class LayerEngine implements AsyncDisposable {
  readonly counters: LayerCounters = newCounters();
  readonly #options: LayerEngineOptions;
  readonly #replies: ReplySink;
  readonly #host: SpansHost;
  readonly #transfers: SpanTransfers;
  readonly #disk: DiskTrouble;
  readonly #fill: BackgroundFill<ServedLayer> | undefined;
  readonly #sourceChanges: PacedChanges;
  readonly #bySlot = new Map<number, ServedLayer>();
  readonly #byLayer = new Map<LayerData, ServedLayer>();
  #sweeper: NodeJS.Timeout | undefined;
  #isDispatching = false;

  constructor(options: LayerEngineOptions) {
    this.#options = options;
    const { source, log, readTimeoutMs = READ_TIMEOUT_MS, onWaited = () => undefined, now = () => performance.now() } = options;
    const replies = loggingReplies(options.replies, log);
    this.#replies = replies;
    const { counters } = this;
    const disk = new DiskTrouble({ log, now });
    this.#disk = disk;
    const wake = (): void => this.#wake();
    this.#host = { replies, log, readTimeoutMs, onWaited, now, counters, wake, verify: (spans, span) => this.#verify(spans, span) };
    this.#transfers = new SpanTransfers({
      source,
      log,
      counters,
      disk,
      wake,
      maxSpanVerificationRetries: options.maxSpanVerificationRetries ?? 0,
      stallMs: options.stallMs ?? STALL_MS,
      onAbsent: (served) => this.#fillAgain(served),
      onComplete: options.onComplete,
    });
    this.#sourceChanges = new PacedChanges(source, (change) => this.#onSourceChange(change));
    if (options.backgroundFetch !== undefined) {
      this.#fill = new BackgroundFill<ServedLayer>(options.backgroundFetch, {
        now,
        isBusy: () => disk.isRecent || this.#transfers.active.demand > 0 || this.#waitingReads() > 0,
        fillOne: (served) => this.#fillOne(served),
        evicted: () => counters.fillQueueEvicted++,
      });
    }
  }

  /**
   * Serves a layer under a slot of the FUSE mount; a layer may have several.
   * @param sources images through which it can be read now, newest first; asked before each request
   */
  attach(slot: number, layer: LayerData, sources: () => readonly LayerSource[]): void {
    const served = this.#byLayer.get(layer) ?? this.#serve(layer, sources);
    this.#bySlot.set(slot, served);
  }

  /** Ends serving a slot. With the layer's last one its fetches stop and its waiting reads are answered with EIO. The files stay open: they are the caller's. */
  detach(slot: number): void {
    const served = this.#bySlot.get(slot);
    this.#bySlot.delete(slot);
    if (served === undefined || [...this.#bySlot.values()].includes(served)) return;
    const { layer, reads } = served.spans;
    this.#byLayer.delete(layer);
    layer.onLost = () => undefined;
    this.#fill?.remove(served);
    served.stop.abort(new LayerError('CLOSED', `layer ${layer.digest}: no longer served`));
    reads.refuseAll('unavailable');
  }

  onMiss({ slot, uniqueLow, uniqueHigh, offsetBytes, sizeBytes }: Miss): void {
    this.counters.misses++;
    const served = this.#bySlot.get(slot);
    if (served !== undefined) {
      served.spans.miss(uniqueLow, uniqueHigh, offsetBytes, sizeBytes);
      return;
    }
    this.counters.readsFailed['unknown-slot']++;
    this.#replies.replyError(uniqueLow, uniqueHigh, EIO);
  }

  /** Fetches spans of an attached layer that nobody reads yet, at read-ahead's priority. */
  prefetch(layer: LayerData, firstSpan: number, lastSpan: number): void {
    this.#byLayer.get(layer)?.spans.plan(firstSpan, lastSpan);
  }

  /**
   * Something changed (credentials, an image through which layers can be read, the network): what failed before is tried at once, and so is what is under way and fails yet.
   * @param isConcerned by which images of a layer it may work now; any when left out
   */
  retryNow(isConcerned: (source: LayerSource) => boolean = () => true): void {
    for (const served of this.#byLayer.values()) {
      const { spans, order } = served;
      const isHeldUp = spans.isHeldUp || order.hasRefused || served.isFillOver;
      if (!isHeldUp || !this.#sourcesOf(served).some(isConcerned)) continue;
      order.reset();
      spans.retryNow();
      if (!served.isFillOver) continue;
      served.isFillOver = false;
      this.#fill?.add(served);
    }
    this.#wake();
  }

  /** Reads that wait for bytes, of all layers. */
  get readsWaiting(): number {
    return this.#waitingReads();
  }

  /** Layers whose background fill is queued. */
  get fillQueueSize(): number {
    return this.#fill?.size ?? 0;
  }

  /** Stops all work. Reads that wait are left unanswered: whoever holds the FUSE descriptor next gets them again. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#sweeper);
    this.#sourceChanges[Symbol.dispose]();
    this.#fill?.[Symbol.dispose]();
    for (const { spans, stop } of this.#byLayer.values()) {
      stop.abort(new LayerError('CLOSED', 'layer engine is closed'));
      spans.reads.stop();
    }
    this.#byLayer.clear();
    this.#bySlot.clear();
    await this.#transfers[Symbol.asyncDispose]();
  }

  #serve(layer: LayerData, sources: () => readonly LayerSource[]): ServedLayer {
    const served: ServedLayer = {
      spans: new LayerSpans(layer, this.#host),
      sources,
      order: new SourceOrder(() => this.#host.now()),
      log: this.#options.log.child({ layerDigest: layer.digest }),
      stop: new AbortController(),
      rejections: new Map(),
      isFillOver: false,
    };
    this.#byLayer.set(layer, served);
    layer.onLost = (spans, error) => {
      this.#disk.failed(layer.digest, error);
      served.spans.lost(spans);
      this.#fillAgain(served);
    };
    this.#transfers.open(served);
    if (layer.suspects.size > 0) this.#transfers.startVerifying(served);
    if (!layer.isFilled) this.#fill?.add(served);
    return served;
  }

  #onSourceChange({ hosts }: BlobSourceChange): void {
    const concerned = hosts && new Set(hosts);
    this.retryNow((source) => concerned === undefined || concerned.has(hostOf(source)));
  }

  /** None when they cannot be told: what waits is tried again anyway. */
  #sourcesOf({ sources, log }: ServedLayer): readonly LayerSource[] {
    try {
      return sources();
    } catch (error) {
      log.warn({ error }, 'images of a layer cannot be told');
      return [];
    }
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
    this.#start('demand', (spans) => spans.nextDemand());
    this.#start('read-ahead', (spans) => spans.nextReadAhead());
  }

  #start(priority: FetchPriority, next: (spans: LayerSpans) => SpanRun | undefined): void {
    const { perLayer, total } = LIMITS[priority];
    for (const served of this.#byLayer.values()) {
      while (this.#transfers.active[priority] < total && served.spans.active[priority] < perLayer) {
        if (served.spans.attempt > 0 && served.spans.active[priority] >= MAX_TRIES_PER_LAYER) break;
        const run = next(served.spans);
        if (run === undefined) break;
        this.#transfers.start(served, run);
      }
    }
  }

  /** Its last spans may have been on their way when the background took it for done. */
  #fillAgain(served: ServedLayer): void {
    if (!served.isFillOver) this.#fill?.add(served);
  }

  async #fillOne(served: ServedLayer): Promise<boolean> {
    const run = served.spans.nextFill();
    if (run !== undefined) await this.#transfers.fetch(served, run);
    return served.spans.hasAbsent && !served.isFillOver;
  }

  #verify(spans: LayerSpans, span: number): void {
    const served = this.#byLayer.get(spans.layer);
    if (served !== undefined) this.#transfers.verify(served, span);
  }

  #sweep(): void {
    const now = this.#host.now();
    for (const { spans, log } of this.#byLayer.values()) {
      if (spans.reads.size === 0) continue;
      const expired = spans.expire(now);
      if (expired.length > 0) log.warn({ span: expired[0], reads: expired.length }, 'reads waited too long, answered with EIO');
    }
    this.#dispatch();
    if (this.#waitingReads() > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }
}

/** An answer that the kernel does not take is one reader's loss; thrown where reads are answered, it would end the process. */
function loggingReplies(replies: ReplySink, log: Logger): ReplySink {
  const logged = (answer: () => void): void => {
    try {
      answer();
    } catch (error) {
      log.error({ error }, 'answer to a read was not taken');
    }
  };
  return {
    reply: (low, high, data) => logged(() => replies.reply(low, high, data)),
    replyError: (low, high, errno) => logged(() => replies.replyError(low, high, errno)),
  };
}
