import { constants } from 'node:os';
import type { PlainRequest } from './journal.ts';
import {
  type Attributes,
  IN_HEADER_BYTES,
  IN_WORD,
  lookupName,
  MAX_READ_BYTES,
  OPCODE,
  OUT_HEADER_BYTES,
  putAttr,
  putEntry,
  putError,
  putHeader,
  putInit,
  putStatfs,
  REQUEST_BYTES,
} from './protocol.ts';
import { hasRange, nodeId, parseFileName, ROOT_NODE, type Slot, toSlot } from './slot.ts';

/** A READ of `.bytes` whose bytes are not there yet. */
export interface Miss {
  readonly slot: number;
  /** The kernel's number of the request, as two words; it goes into the answer as it is. */
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  readonly offsetBytes: number;
  /** Bytes to be answered, exactly; may reach past the data, up to the size of the file: zeros there. */
  readonly sizeBytes: number;
}

export interface ResponderOptions {
  readonly slots: ReadonlyMap<number, Slot>;
  /** @returns bytes read, or the negative errno */
  readonly pread: (fd: number, into: Uint8Array, sizeBytes: number, offsetBytes: number) => number;
  /** @returns false when nobody can answer it later either: it gets EIO at once */
  readonly onMiss: (miss: Miss, request: PlainRequest) => boolean;
  /** A request about a slot that is not there. @returns whether somebody answers it later; refused at once without */
  readonly onUnknownSlot?: (request: PlainRequest) => boolean;
  readonly onInit: (hasResend: boolean | undefined) => void;
  /** False: as on a kernel that cannot send requests again. */
  readonly mayResend?: boolean;
  /** After a range of a data file was copied into an answer. */
  readonly onServed?: (fd: number, offsetBytes: number, sizeBytes: number) => void;
  /** Where requests are read into: `REQUEST_BYTES`, on a multiple of 4. Of its own when left out. */
  readonly buffer?: Buffer;
}

const NO_REPLY = 0;
const OUT_WORDS = 64; // the longest answer that is made of words is shorter
const { EIO, EINVAL, ENOENT, ENOSYS, EPROTO } = constants.errno;

/** Answers requests from memory and disk alone. One per thread: it owns the buffer of its answers. */
export class Responder {
  /** The next request, as the device gave it. */
  readonly request: Buffer;
  /** The answer of the last request. */
  readonly reply = new Uint8Array(OUT_HEADER_BYTES + MAX_READ_BYTES);
  readonly #in: Uint32Array;
  readonly #out = new Uint32Array(this.reply.buffer, 0, OUT_WORDS);
  readonly #data = this.reply.subarray(OUT_HEADER_BYTES);
  readonly #options: ResponderOptions;

  constructor(options: ResponderOptions) {
    this.#options = options;
    this.request = options.buffer ?? Buffer.alloc(REQUEST_BYTES);
    this.#in = new Uint32Array(this.request.buffer, this.request.byteOffset, REQUEST_BYTES / 4);
  }

  /**
   * Answers what is in `request` into `reply`.
   *
   * @param lengthBytes of the request
   * @returns length of the answer; 0 when none is due now: the request wants none, or it was handed on
   */
  answer(lengthBytes: number): number {
    const request = parseRequest(this.request.subarray(0, lengthBytes), this.#in);
    if (request === undefined) return NO_REPLY;
    return request.opcode === OPCODE.init ? this.#init(request.uniqueLow, request.uniqueHigh) : this.answerPlain(request);
  }

  /** Answers any request but INIT into `reply`, which may have been read by another process. @returns as `answer` */
  answerPlain(request: PlainRequest): number {
    const { opcode, uniqueLow: low, uniqueHigh: high, node } = request;
    switch (opcode) {
      case OPCODE.read:
        return this.#read(request);
      case OPCODE.lookup:
      case OPCODE.getattr: {
        const attributes = this.#attributes(node);
        if (attributes === undefined) return this.#isHandedOn(request) ? NO_REPLY : this.#refuse(low, high, ENOENT);
        const put = opcode === OPCODE.lookup ? putEntry : putAttr;
        return putHeader(this.#out, low, high, put(this.#out, attributes));
      }
      case OPCODE.readdir:
      case OPCODE.readdirplus:
      case OPCODE.destroy:
        return putHeader(this.#out, low, high, OUT_HEADER_BYTES);
      case OPCODE.statfs:
        return putHeader(this.#out, low, high, putStatfs(this.#out));
      default:
        return this.#refuse(low, high, ENOSYS); // OPEN and OPENDIR among them: the kernel does not ask again
    }
  }

  #init(low: number, high: number): number {
    const init = putInit(this.#out, this.#in, this.#options.mayResend);
    this.#options.onInit(init?.hasResend);
    return init ? putHeader(this.#out, low, high, init.lengthBytes) : this.#refuse(low, high, EPROTO);
  }

  #attributes(node: number): Attributes | undefined {
    if (node === ROOT_NODE) return { node, sizeBytes: 0, isDirectory: true };
    const { slot: number, file } = toSlot(node);
    const slot = this.#options.slots.get(number);
    return slot && { node, sizeBytes: file === 'names' ? slot.namesSizeBytes : slot.bytesSizeBytes, isDirectory: false };
  }

  #isHandedOn(request: PlainRequest): boolean {
    return request.node > ROOT_NODE && (this.#options.onUnknownSlot?.(request) ?? false);
  }

  #read(request: PlainRequest): number {
    const { uniqueLow: low, uniqueHigh: high, node, offsetBytes, sizeBytes: askedBytes } = request;
    const { slot: number, file } = toSlot(node);
    const slot = this.#options.slots.get(number);
    if (slot === undefined) return this.#isHandedOn(request) ? NO_REPLY : this.#refuse(low, high, EIO);
    if (askedBytes > MAX_READ_BYTES) return this.#refuse(low, high, EINVAL);
    const fileBytes = file === 'names' ? slot.namesSizeBytes : slot.bytesSizeBytes;
    const sizeBytes = Math.max(0, Math.min(askedBytes, fileBytes - offsetBytes));
    if (file === 'names') return this.#copy(low, high, slot.namesFd, offsetBytes, sizeBytes, sizeBytes);
    const dataBytes = Math.max(0, Math.min(sizeBytes, slot.dataSizeBytes - offsetBytes));
    if (dataBytes > 0 && !hasRange(slot, offsetBytes, dataBytes)) {
      const miss = { slot: number, uniqueLow: low, uniqueHigh: high, offsetBytes, sizeBytes };
      return this.#options.onMiss(miss, request) ? NO_REPLY : this.#refuse(low, high, EIO);
    }
    const lengthBytes = this.#copy(low, high, slot.bytesFd, offsetBytes, dataBytes, sizeBytes);
    this.#options.onServed?.(slot.bytesFd, offsetBytes, dataBytes);
    return lengthBytes;
  }

  /** A short answer would shrink the file for the kernel for good: all of it, zeros past the data, or EIO. */
  #copy(low: number, high: number, fd: number, offsetBytes: number, dataBytes: number, sizeBytes: number): number {
    if (dataBytes > 0 && this.#options.pread(fd, this.#data, dataBytes, offsetBytes) !== dataBytes) return this.#refuse(low, high, EIO);
    if (sizeBytes > dataBytes) this.#data.fill(0, dataBytes, sizeBytes);
    return putHeader(this.#out, low, high, OUT_HEADER_BYTES + sizeBytes);
  }

  #refuse(low: number, high: number, errno: number): number {
    return putError(this.#out, low, high, errno);
  }
}

/**
 * The numbers of a request that wants an answer.
 * @param words the same bytes, where the caller has them as words already
 */
export function parseRequest(
  request: Buffer,
  words = new Uint32Array(request.buffer, request.byteOffset, request.length >>> 2),
): PlainRequest | undefined {
  if (request.length < IN_HEADER_BYTES) return undefined;
  const word = (index: number): number => words[index] ?? 0;
  const opcode = word(IN_WORD.opcode);
  // What waits is answered or refused within the engine's own deadline: INTERRUPT is nothing to act on.
  if (opcode === OPCODE.forget || opcode === OPCODE.batchForget || opcode === OPCODE.interrupt) return undefined;
  // No node of ours has a second word: one that does is turned into one that does not exist.
  const asked = word(IN_WORD.nodeHigh) === 0 ? word(IN_WORD.node) : 0;
  const node = opcode === OPCODE.lookup ? namedNode(asked, lookupName(request, request.length)) : asked;
  const isRead = opcode === OPCODE.read;
  return {
    opcode,
    uniqueLow: word(IN_WORD.uniqueLow),
    uniqueHigh: word(IN_WORD.uniqueHigh),
    node,
    offsetBytes: isRead ? word(IN_WORD.readOffset) + word(IN_WORD.readOffset + 1) * 2 ** 32 : 0,
    sizeBytes: isRead ? word(IN_WORD.readSize) : 0,
  };
}

/** ENOENT is an error for a name that nothing has, not an entry with a lifetime: the slot may be there at the next look. */
function namedNode(parent: number, name: string): number {
  const parsed = parent === ROOT_NODE ? parseFileName(name) : undefined;
  return parsed === undefined ? 0 : nodeId(parsed.slot, parsed.file);
}
