import type { Logger } from '@soci/log';
import type { LayerCounters, ReadFailure } from './counters.ts';
import type { FetchPriority } from './blob-source.ts';
import type { SpanRun } from './fetch-spans.ts';
import type { LayerData } from './layer-data.ts';
import { LayerReads, type NextStep } from './layer-reads.ts';
import { Guesses } from './guesses.ts';
import { ReadAhead } from './read-ahead.ts';
import { blobLength, spanAt } from './span-index.ts';

/** Where answers to waiting reads go: the FUSE mount. Neither call may throw for a reader that is gone. */
export interface ReplySink {
  /** @param data valid during the call only */
  reply(uniqueLow: number, uniqueHigh: number, data: Uint8Array): void;
  replyError(uniqueLow: number, uniqueHigh: number, errno: number): void;
}

/** What a layer needs of the engine around it. */
export interface SpansHost {
  readonly replies: ReplySink;
  readonly counters: LayerCounters;
  readonly log: Logger;
  readonly readTimeoutMs: number;
  /** A read that waited was answered, or refused. */
  readonly onWaited: (seconds: number) => void;
  now(): number;
  /** There may be something to fetch, or reads that can expire. */
  wake(): void;
  /** Somebody waits for a span that is on disk but was not checked since an unclean stop. */
  verify(spans: LayerSpans, span: number): void;
}

/** A span that failed answers at once for that long: the kernel repeats a failed read twice on its own. */
const RECENT_FAILURE_MS = 1000;
/** Compressed bytes that one request asks for at most, unless a single span has more. */
const MAX_REQUEST_BYTES = 8 << 20;
/** Compressed bytes that are kept ahead of a sequential reader at most. */
const MAX_AHEAD_BYTES = 16 << 20;

/** `held`: on disk, but its bit is not set yet, so that the first read of it is seen here and the reader followed. */
const STATE = { absent: 0, suspect: 1, wanted: 2, planned: 3, fetching: 4, storing: 5, held: 6, present: 7 } as const;

/** The spans of one layer: which are here, which are on their way, and the reads that wait for them. Every span has one state, every waiting read one span. */
export class LayerSpans {
  readonly layer: LayerData;
  readonly reads: LayerReads;
  /** Requests under way. */
  active = { demand: 0, 'read-ahead': 0, fill: 0 };
  readonly #host: SpansHost;
  readonly #state: Uint8Array;
  readonly #touched: Uint8Array;
  readonly #failedAtMs = new Map<number, number>();
  readonly #readAhead: ReadAhead;
  readonly #guesses: Guesses;
  readonly #wanted: number[] = [];
  readonly #planned: number[] = [];
  #fillCursor = 0;
  #attempt = 0;
  #retryAtMs = 0;
  #changes = 0;

  constructor(layer: LayerData, host: SpansHost) {
    const { index } = layer;
    this.layer = layer;
    this.#host = host;
    this.reads = new LayerReads(layer, host);
    this.#state = Uint8Array.from({ length: index.spanCount }, (_, span) =>
      layer.isPresent(span) ? STATE.present : layer.suspects.has(span) ? STATE.suspect : STATE.absent,
    );
    this.#touched = new Uint8Array(index.spanCount);
    const meanBytes = Math.max(1, index.blobSizeBytes / Math.max(1, index.spanCount));
    this.#guesses = new Guesses(index.spanCount);
    this.#readAhead = new ReadAhead(Math.max(1, Math.floor(MAX_AHEAD_BYTES / meanBytes)));
  }

  /** A read that the serving threads could not answer. */
  miss(uniqueLow: number, uniqueHigh: number, offsetBytes: number, sizeBytes: number): void {
    const { index } = this.layer;
    const { reads } = this;
    const end = Math.min(offsetBytes + sizeBytes, index.dataSizeBytes);
    const first = spanAt(index, offsetBytes);
    const last = spanAt(index, end - 1);
    if (offsetBytes < end && this.#hasFailedRecently(first, last)) {
      reads.refuse(uniqueLow, uniqueHigh, 'recent-failure');
      return;
    }
    if (offsetBytes < end) this.#touch(first, last, offsetBytes);
    const missing = offsetBytes < end ? this.#firstMissing(first, last) : -1;
    if (missing < 0) {
      reads.answer(uniqueLow, uniqueHigh, offsetBytes, sizeBytes);
      return;
    }
    if (!reads.add(missing, uniqueLow, uniqueHigh, offsetBytes, sizeBytes)) return;
    for (let span = missing; span <= last; span++) this.#want(span);
    this.#host.wake();
  }

  /** Asks for spans nobody reads yet: a prefetch list, or the whole layer. */
  plan(first: number, last: number): void {
    for (let span = Math.max(0, first); span <= Math.min(last, this.layer.index.spanCount - 1); span++) this.#planOne(span);
    this.#host.wake();
  }

  /** The next request that somebody waits for, its spans marked as under way. */
  nextDemand(): SpanRun | undefined {
    if (this.#retryAtMs > this.#host.now()) return undefined;
    const span = takeFirst(this.#wanted, (candidate) => this.#state[candidate] === STATE.wanted);
    if (span === undefined) return undefined;
    const run = this.#run(span, 'demand', (state) => state === STATE.wanted || state === STATE.planned);
    return this.#wanted.length === 0 && this.#guesses.isWorthwhile ? this.#withNext(run) : run;
  }

  /** The next request ahead of a sequential reader. */
  nextReadAhead(): SpanRun | undefined {
    if (this.#retryAtMs > this.#host.now()) return undefined;
    const span = takeFirst(this.#planned, (candidate) => this.#state[candidate] === STATE.planned);
    if (span === undefined) return undefined;
    return this.#run(span, 'read-ahead', (state) => state === STATE.planned);
  }

  /** The next span that nobody asked for, or undefined when none is left. */
  nextFill(): SpanRun | undefined {
    if (this.#retryAtMs > this.#host.now()) return undefined;
    const span = this.#state.indexOf(STATE.absent, this.#fillCursor);
    this.#fillCursor = span < 0 ? 0 : span + 1;
    return span < 0 ? undefined : this.#run(span, 'fill', () => false);
  }

  get hasAbsent(): boolean {
    return this.#state.includes(STATE.absent);
  }

  /** The bytes of a span have come and go to the storing thread. */
  storing(span: number): void {
    this.#state[span] = STATE.storing;
  }

  /** A span is on disk and checked. */
  stored(span: number, checksum: number, priority: FetchPriority): void {
    this.layer.stored(span, checksum);
    this.#attempt = 0;
    this.#failedAtMs.delete(span);
    const isWatched = priority !== 'fill' && this.#touched[span] === 0 && !this.layer.isFilled;
    if (isWatched) this.#state[span] = STATE.held;
    else this.#announce(span);
    if (this.layer.isFilled) this.#announceAll();
    this.reads.settle(span, this.#next);
  }

  /** A span cannot be had; whoever waits for it is told, and so is who asks within a second. */
  failed(span: number, reason: ReadFailure): void {
    this.#state[span] = STATE.absent;
    this.#failedAtMs.set(span, this.#host.now());
    this.reads.fail(span, reason);
  }

  /** Spans of a run that were not delivered: again for those that are waited for, after a pause that grows; forgotten otherwise. */
  undelivered({ first, last, changes }: SpanRun, maxPauseMs: number): void {
    if (changes === this.#changes) this.#retryAtMs = this.#host.now() + Math.min(maxPauseMs, 125 * 2 ** this.#attempt++);
    for (let span = first; span <= last; span++) {
      if (this.#state[span] === STATE.fetching) this.again(span);
    }
  }

  /** Fetches a span once more if somebody waits for it. */
  again(span: number): void {
    this.#state[span] = STATE.absent;
    if (this.reads.hasWaiting(span)) this.#want(span);
  }

  /** Spans that were here are not any more. */
  lost(spans: readonly number[]): void {
    for (const span of spans) if (this.#state[span] === STATE.present || this.#state[span] === STATE.held) this.again(span);
    this.#host.wake();
  }

  /** How often in a row fetching failed. */
  get attempt(): number {
    return this.#attempt;
  }

  /** Whether there is anything that a change could help: a request that failed or may yet, a span that is refused. */
  get isHeldUp(): boolean {
    return this.#attempt > 0 || this.#failedAtMs.size > 0 || Object.values(this.active).some((count) => count > 0);
  }

  /** What failed before may work now, and so may what was asked for before and fails yet. */
  retryNow(): void {
    this.#changes++;
    this.#attempt = 0;
    this.#retryAtMs = 0;
    this.#failedAtMs.clear();
  }

  isSuspect(span: number): boolean {
    return this.#state[span] === STATE.suspect;
  }

  /** Answers reads that waited too long with EIO, and who asks for their spans within a second; the spans. */
  expire(now: number): readonly number[] {
    const spans = this.reads.expire(now);
    for (const span of spans) this.#failedAtMs.set(span, now);
    return spans;
  }

  /** What a read does next whose span has come. */
  readonly #next = (offsetBytes: number, sizeBytes: number): NextStep => {
    const { index } = this.layer;
    const end = Math.min(offsetBytes + sizeBytes, index.dataSizeBytes);
    const missing = this.#firstMissing(spanAt(index, offsetBytes), spanAt(index, end - 1));
    if (missing < 0) return 'answer';
    if (this.#hasFailedRecently(missing, missing)) return 'refuse';
    this.#want(missing);
    return missing;
  };

  #hasFailedRecently(first: number, last: number): boolean {
    if (this.#failedAtMs.size === 0) return false;
    const since = this.#host.now() - RECENT_FAILURE_MS;
    for (let span = first; span <= last; span++) {
      const failedAtMs = this.#failedAtMs.get(span);
      if (failedAtMs === undefined) continue;
      if (failedAtMs > since) return true;
      this.#failedAtMs.delete(span);
    }
    return false;
  }

  /** Follows readers by the spans they touch for the first time. */
  #touch(first: number, last: number, offsetBytes: number): void {
    let isNew = false;
    for (let span = first; span <= last; span++) {
      if (this.#touched[span] === 1) continue;
      this.#touched[span] = 1;
      isNew = true;
      const state = this.#state[span] ?? STATE.absent;
      if (state >= STATE.planned && state <= STATE.held) this.#host.counters.readAheadUsed++;
      if (state === STATE.held) this.#announce(span);
      this.#guesses.touched(span);
    }
    if (!isNew) return;
    const { startBytes, runsToSpan } = this.layer.index;
    const offsetInSpanBytes = offsetBytes - (startBytes[first] ?? 0);
    const window = this.#readAhead.touch({ first, last, offsetInSpanBytes, fileEndsInSpan: runsToSpan[last] ?? last });
    // Half a window at a time: fewer requests.
    if (window > 0 && this.#nextAbsent(last + 1) <= last + Math.ceil(window / 2)) this.plan(last + 1, last + window);
  }

  #nextAbsent(from: number): number {
    const span = this.#state.indexOf(STATE.absent, from);
    return span < 0 ? Infinity : span;
  }

  #planOne(span: number): void {
    if (this.#state[span] !== STATE.absent) return;
    this.#state[span] = STATE.planned;
    this.#planned.push(span);
  }

  #want(span: number): void {
    switch (this.#state[span]) {
      case STATE.absent:
      case STATE.planned:
        this.#state[span] = STATE.wanted;
        this.#wanted.push(span);
        break;
      case STATE.suspect:
        this.#host.verify(this, span);
        break;
    }
  }

  /** The run around a span: neighbours that may come along with it, within one request's size. */
  #run(span: number, priority: FetchPriority, mayJoin: (state: number) => boolean): SpanRun {
    const { index } = this.layer;
    let first = span;
    let last = span;
    let bytes = blobLength(index, span);
    const joins = (neighbour: number): boolean => {
      if (neighbour < 0 || neighbour >= index.spanCount || !mayJoin(this.#state[neighbour] ?? STATE.absent)) return false;
      bytes += blobLength(index, neighbour);
      return bytes <= MAX_REQUEST_BYTES;
    };
    while (priority === 'demand' && this.#state[first - 1] === STATE.wanted && joins(first - 1)) first--;
    while (joins(last + 1)) last++;
    for (let one = first; one <= last; one++) this.#state[one] = STATE.fetching;
    return { layer: this.layer, first, last, priority, changes: this.#changes };
  }

  /** A run and the span behind it, which nobody asked for: it comes while the reader is busy with what it got. */
  #withNext(run: SpanRun): SpanRun {
    const next = run.last + 1;
    if (this.#state[next] !== STATE.absent || next >= this.layer.index.spanCount) return run;
    this.#state[next] = STATE.fetching;
    this.#guesses.made(next);
    return { ...run, last: next };
  }

  #announce(span: number): void {
    this.#state[span] = STATE.present;
    this.layer.announce(span);
  }

  #announceAll(): void {
    for (let span = this.#state.indexOf(STATE.held); span >= 0; span = this.#state.indexOf(STATE.held, span + 1)) this.#announce(span);
  }

  #firstMissing(first: number, last: number): number {
    for (let span = first; span <= last; span++) if (this.#state[span] !== STATE.present) return span;
    return -1;
  }
}

/** Takes entries off the front until one still holds. */
function takeFirst(queue: number[], holds: (span: number) => boolean): number | undefined {
  for (let span = queue.shift(); span !== undefined; span = queue.shift()) if (holds(span)) return span;
  return undefined;
}
