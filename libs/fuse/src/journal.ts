import { mapMemory } from '@soci/linux';
import { SESSION_BYTES } from './launcher/session.ts';
import { IN_HEADER_BYTES, REQUEST_BYTES } from './protocol.ts';

/** A request in the few numbers that an answer needs. */
export interface PlainRequest {
  readonly opcode: number;
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  /** What is asked about; for a LOOKUP the node that the name is for, 0 for a name that nothing has. */
  readonly node: number;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** A request that somebody owes an answer. `entry`: where the journal has it; `NO_ENTRY` without a journal. */
export interface OwedRequest extends PlainRequest {
  readonly entry: number;
}

export const NO_ENTRY = -1;
const MAX_WORKERS = 2;
/** For each worker: more than ten thousand readers wait for when each reads ahead by a mebibyte. */
const WORKER_ENTRIES = 65_536;
const ENTRY_WORDS = 8;
const HEAD_BYTES = 4096;
const BUFFERS_BYTES = MAX_WORKERS * REQUEST_BYTES;
const TABLE_BYTES = MAX_WORKERS * WORKER_ENTRIES * ENTRY_WORDS * 4;
export const JOURNAL_BYTES = HEAD_BYTES + BUFFERS_BYTES + TABLE_BYTES;
/** Words of the head, for each worker: the entry before which none is free, and the one from which on none was ever used. */
const HEAD = { free: 0, used: MAX_WORKERS } as const;
const ENTRY = { isUsed: 0, opcode: 1, uniqueLow: 2, uniqueHigh: 3, node: 4, sizeBytes: 5, offsetLow: 6, offsetHigh: 7 } as const;

/**
 * What was read from the kernel and not answered yet, in memory that outlives the process: for kernels that do not send it again.
 *
 * A worker reads each request into a buffer of the journal, so that there is no moment at which a request is in neither: it is cleared when the request
 * is answered or entered into the table. Answers that were given and not noted are given again, which the kernel does not mind: numbers are not used twice.
 */
export class Journal {
  readonly #fd: number;
  readonly #head: Int32Array;
  readonly #buffers: Buffer;
  readonly #bufferWords: Int32Array;
  readonly #table: Int32Array;

  /** @param fd memory of a session, mapped for the calling thread */
  constructor(fd: number) {
    this.#fd = fd;
    const fixedBytes = HEAD_BYTES + BUFFERS_BYTES;
    // Populated: a page fault inside the kernel's copy could fail under a kill, and the request would be lost.
    const fixed = mapMemory(fd, fixedBytes, { offsetBytes: SESSION_BYTES, isPopulated: true });
    this.#head = new Int32Array(fixed, 0, 2 * MAX_WORKERS);
    this.#buffers = Buffer.from(fixed, HEAD_BYTES, BUFFERS_BYTES);
    this.#bufferWords = new Int32Array(fixed, HEAD_BYTES, BUFFERS_BYTES / 4);
    this.#table = new Int32Array(mapMemory(fd, TABLE_BYTES, { offsetBytes: SESSION_BYTES + fixedBytes }));
  }

  /** For the constructor in another thread. */
  get fd(): number {
    return this.#fd;
  }

  /** Where a worker reads requests into. */
  buffer(worker: number): Buffer {
    return this.#buffers.subarray(worker * REQUEST_BYTES, (worker + 1) * REQUEST_BYTES);
  }

  /** What is in the worker's buffer is answered or entered. */
  clearBuffer(worker: number): void {
    Atomics.store(this.#bufferWords, (worker * REQUEST_BYTES) / 4, 0);
  }

  /** Enters a request that is answered later. One thread for each worker. @returns its entry, `NO_ENTRY` when the table is full */
  add(worker: number, { opcode, uniqueLow, uniqueHigh, node, sizeBytes, offsetBytes }: PlainRequest): number {
    const hint = Atomics.load(this.#head, HEAD.free + worker);
    let index = hint;
    while (index < WORKER_ENTRIES && Atomics.load(this.#table, this.#at(worker, index)) !== 0) index++;
    if (index >= WORKER_ENTRIES) return NO_ENTRY;
    const at = this.#at(worker, index);
    if (index >= Atomics.load(this.#head, HEAD.used + worker)) Atomics.store(this.#head, HEAD.used + worker, index + 1);
    this.#table[at + ENTRY.opcode] = opcode;
    this.#table[at + ENTRY.uniqueLow] = uniqueLow;
    this.#table[at + ENTRY.uniqueHigh] = uniqueHigh;
    this.#table[at + ENTRY.node] = node;
    this.#table[at + ENTRY.sizeBytes] = sizeBytes;
    this.#table[at + ENTRY.offsetLow] = offsetBytes;
    this.#table[at + ENTRY.offsetHigh] = offsetBytes / 2 ** 32;
    Atomics.store(this.#table, at + ENTRY.isUsed, 1);
    Atomics.compareExchange(this.#head, HEAD.free + worker, hint, index + 1); // unless one before was removed meanwhile
    return worker * WORKER_ENTRIES + index;
  }

  /** The request of an entry was answered. */
  remove(entry: number): void {
    if (entry === NO_ENTRY) return;
    Atomics.store(this.#table, entry * ENTRY_WORDS + ENTRY.isUsed, 0);
    const worker = Math.floor(entry / WORKER_ENTRIES);
    const index = entry % WORKER_ENTRIES;
    for (let hint = Atomics.load(this.#head, HEAD.free + worker); index < hint; ) {
      const was = Atomics.compareExchange(this.#head, HEAD.free + worker, hint, index);
      if (was === hint) return;
      hint = was;
    }
  }

  /**
   * What an earlier process left unanswered. Before workers begin, which read over its buffers: what is in those is entered into the table first.
   * @param parse turns the bytes of a request into its numbers; `undefined` for one that wants no answer
   */
  takeOver(parse: (request: Buffer) => PlainRequest | undefined): OwedRequest[] {
    for (let worker = 0; worker < MAX_WORKERS; worker++) {
      this.#repair(worker);
      const buffer = this.buffer(worker);
      const lengthBytes = buffer.readUInt32LE(0);
      const request = lengthBytes >= IN_HEADER_BYTES && lengthBytes <= REQUEST_BYTES ? parse(buffer.subarray(0, lengthBytes)) : undefined;
      if (request !== undefined) this.add(worker, request);
      this.clearBuffer(worker);
    }
    return this.#entries();
  }

  /** Nothing is owed: for a mount that begins. */
  clear(): void {
    for (const { entry } of this.#entries()) this.remove(entry);
    for (let worker = 0; worker < MAX_WORKERS; worker++) this.clearBuffer(worker);
  }

  #entries(): OwedRequest[] {
    const owed: OwedRequest[] = [];
    for (let worker = 0; worker < MAX_WORKERS; worker++) {
      const used = Math.min(WORKER_ENTRIES, Math.max(0, this.#head[HEAD.used + worker] ?? 0));
      for (let index = 0; index < used; index++) {
        const at = this.#at(worker, index);
        if (this.#table[at] !== 0) owed.push({ entry: worker * WORKER_ENTRIES + index, ...this.#read(at) });
      }
    }
    return owed;
  }

  #read(at: number): PlainRequest {
    const word = (index: number): number => (this.#table[at + index] ?? 0) >>> 0;
    return {
      opcode: word(ENTRY.opcode),
      uniqueLow: word(ENTRY.uniqueLow),
      uniqueHigh: word(ENTRY.uniqueHigh),
      node: word(ENTRY.node),
      sizeBytes: word(ENTRY.sizeBytes),
      offsetBytes: word(ENTRY.offsetLow) + word(ENTRY.offsetHigh) * 2 ** 32,
    };
  }

  /** A process that was killed between two words may have left the first free entry named too late. */
  #repair(worker: number): void {
    Atomics.store(this.#head, HEAD.free + worker, 0);
  }

  #at(worker: number, index: number): number {
    return (worker * WORKER_ENTRIES + index) * ENTRY_WORDS;
  }
}
