import { readSync } from 'node:fs';
import type { ReadFailure } from './counters.ts';
import type { LayerData } from './layer-data.ts';
import type { SpansHost } from './layer-spans.ts';
import { ReadTable } from './read-table.ts';

const EIO = 5;
/** How long answering may hold the main thread before other work gets its turn. */
const ANSWER_SLICE_MS = 1;
const FIRST_SCRATCH_BYTES = 128 << 10;
/** Between a file and the kernel, of all layers: an answer is over when the call returns, and a node may serve a thousand layers. */
let scratch = new Uint8Array(0);

/** What becomes of a read whose span has come: it waits for another one, or it can be answered or refused. */
export type NextStep = number | 'answer' | 'refuse';

/** The reads that wait for one layer, each for one span, and their answers. No promise, no object per read. */
export class LayerReads {
  readonly #layer: LayerData;
  readonly #host: SpansHost;
  readonly #table = new ReadTable();
  readonly #ready: number[] = [];
  #isAnswering = false;

  constructor(layer: LayerData, host: SpansHost) {
    this.#layer = layer;
    this.#host = host;
  }

  /** How many wait. */
  get size(): number {
    return this.#table.size;
  }

  hasWaiting(span: number): boolean {
    return this.#table.hasWaiting(span);
  }

  /** Takes a read in; false when the table is full, and the read was refused. */
  add(span: number, uniqueLow: number, uniqueHigh: number, offsetBytes: number, sizeBytes: number): boolean {
    const deadlineMs = this.#host.now() + this.#host.readTimeoutMs;
    if (this.#table.add(span, uniqueLow, uniqueHigh, offsetBytes, sizeBytes, deadlineMs) >= 0) return true;
    this.refuse(uniqueLow, uniqueHigh, 'table-full');
    return false;
  }

  /** A span has come: moves each read that waited for it on. */
  settle(span: number, next: (offsetBytes: number, sizeBytes: number) => NextStep): void {
    const table = this.#table;
    this.#each(span, (row) => {
      const step = next(table.offsetBytes[row] ?? 0, table.sizeBytes[row] ?? 0);
      if (step === 'answer') this.#ready.push(row);
      else if (step === 'refuse') this.#refuseRow(row, 'recent-failure');
      else table.wait(row, step);
    });
    if (!this.#isAnswering && this.#ready.length > 0) this.#answerReady();
  }

  /** Refuses all that wait for a span. */
  fail(span: number, reason: ReadFailure): void {
    this.#each(span, (row) => this.#refuseRow(row, reason));
  }

  /** Refuses reads that waited too long; the spans they waited for. */
  expire(now: number): readonly number[] {
    const table = this.#table;
    const expired: number[] = [];
    for (const span of [...table.spans()]) {
      this.#each(span, (row) => {
        if ((table.deadlineMs[row] ?? 0) > now) table.wait(row, span);
        else {
          this.#refuseRow(row, 'timeout');
          expired.push(span);
        }
      });
    }
    return expired;
  }

  /** Refuses everything; no file is touched any more. */
  refuseAll(reason: ReadFailure): void {
    for (const span of [...this.#table.spans()]) this.fail(span, reason);
    for (const row of this.#ready.splice(0)) this.#refuseRow(row, reason);
  }

  /** No file is touched any more; what waits stays unanswered. */
  stop(): void {
    this.#ready.length = 0;
  }

  /** Answers from the data file; all that was asked for, up to the end of the device. */
  answer(uniqueLow: number, uniqueHigh: number, offsetBytes: number, sizeBytes: number): void {
    const { dataFd, deviceSizeBytes, digest } = this.#layer;
    const length = Math.max(0, Math.min(sizeBytes, deviceSizeBytes - offsetBytes));
    if (scratch.length < length) scratch = new Uint8Array(Math.max(length, FIRST_SCRATCH_BYTES));
    try {
      for (let done = 0; done < length; ) {
        const read = readSync(dataFd, scratch, done, length - done, offsetBytes + done);
        if (read === 0) throw new Error(`data file ends at ${offsetBytes + done}`);
        done += read;
      }
    } catch (error) {
      this.#host.log.error({ layerDigest: digest, offsetBytes, error }, 'layer data cannot be read');
      this.refuse(uniqueLow, uniqueHigh, 'disk');
      return;
    }
    this.#host.counters.readsAnswered++;
    this.#host.counters.bytesServed += length;
    this.#host.replies.reply(uniqueLow, uniqueHigh, scratch.subarray(0, length));
  }

  refuse(uniqueLow: number, uniqueHigh: number, reason: ReadFailure): void {
    this.#host.counters.readsFailed[reason]++;
    this.#host.replies.replyError(uniqueLow, uniqueHigh, EIO);
  }

  /** Takes the reads of a span off the table, one after the other; each is to be freed or to wait again. */
  #each(span: number, work: (row: number) => void): void {
    for (let row = this.#table.take(span); row >= 0; ) {
      const next = this.#table.next(row);
      work(row);
      row = next;
    }
  }

  #answerReady(): void {
    const { uniqueLow, uniqueHigh, offsetBytes, sizeBytes } = this.#table;
    const until = performance.now() + ANSWER_SLICE_MS;
    for (let row = this.#ready.pop(); row !== undefined; row = this.#ready.pop()) {
      this.answer(uniqueLow[row] ?? 0, uniqueHigh[row] ?? 0, offsetBytes[row] ?? 0, sizeBytes[row] ?? 0);
      this.#over(row);
      if (performance.now() >= until) break;
    }
    this.#isAnswering = this.#ready.length > 0;
    if (this.#isAnswering) setImmediate(() => this.#answerReady());
  }

  #refuseRow(row: number, reason: ReadFailure): void {
    this.refuse(this.#table.uniqueLow[row] ?? 0, this.#table.uniqueHigh[row] ?? 0, reason);
    this.#over(row);
  }

  #over(row: number): void {
    const sinceMs = (this.#table.deadlineMs[row] ?? 0) - this.#host.readTimeoutMs;
    this.#host.onWaited((this.#host.now() - sinceMs) / 1_000);
    this.#table.free(row);
  }
}
