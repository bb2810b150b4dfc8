import { constants } from 'node:os';
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
  readonly onMiss: (miss: Miss) => void;
  readonly onInit: (hasResend: boolean | undefined) => void;
  /** After a range of a data file was copied into an answer. */
  readonly onServed?: (fd: number, offsetBytes: number, sizeBytes: number) => void;
}

const NO_REPLY = 0;
const OUT_WORDS = 64; // the longest answer that is made of words is shorter
const { EIO, EINVAL, ENOENT, ENOSYS, EPROTO } = constants.errno;

/** Answers requests from memory and disk alone. One per thread: it owns the buffer of its answers. */
export class Responder {
  /** The next request, as the device gave it. */
  readonly request = Buffer.alloc(REQUEST_BYTES);
  /** The answer of the last request. */
  readonly reply = new Uint8Array(OUT_HEADER_BYTES + MAX_READ_BYTES);
  readonly #in = new Uint32Array(this.request.buffer, this.request.byteOffset, REQUEST_BYTES / 4);
  readonly #out = new Uint32Array(this.reply.buffer, 0, OUT_WORDS);
  readonly #data = this.reply.subarray(OUT_HEADER_BYTES);
  readonly #options: ResponderOptions;

  constructor(options: ResponderOptions) {
    this.#options = options;
  }

  /**
   * Answers what is in `request` into `reply`.
   *
   * @param lengthBytes of the request
   * @returns length of the answer; 0 when none is due now: the request wants none, or it is a miss and was handed on
   */
  answer(lengthBytes: number): number {
    if (lengthBytes < IN_HEADER_BYTES) return NO_REPLY;
    const low = this.#in[IN_WORD.uniqueLow] ?? 0;
    const high = this.#in[IN_WORD.uniqueHigh] ?? 0;
    // No node of ours has a second word: one that does is turned into one that does not exist.
    const node = this.#in[IN_WORD.nodeHigh] === 0 ? (this.#in[IN_WORD.node] ?? 0) : 0;
    switch (this.#in[IN_WORD.opcode]) {
      case OPCODE.forget:
      case OPCODE.batchForget:
      case OPCODE.interrupt: // what waits is answered or refused within the engine's own deadline
        return NO_REPLY;
      case OPCODE.read:
        return this.#read(low, high, node);
      case OPCODE.lookup:
        return this.#lookup(low, high, node, lookupName(this.request, lengthBytes));
      case OPCODE.getattr: {
        const attributes = this.#attributes(node);
        return attributes ? putHeader(this.#out, low, high, putAttr(this.#out, attributes)) : this.#refuse(low, high, ENOENT);
      }
      case OPCODE.readdir:
      case OPCODE.readdirplus:
      case OPCODE.destroy:
        return putHeader(this.#out, low, high, OUT_HEADER_BYTES);
      case OPCODE.statfs:
        return putHeader(this.#out, low, high, putStatfs(this.#out));
      case OPCODE.init:
        return this.#init(low, high);
      default:
        return this.#refuse(low, high, ENOSYS); // OPEN and OPENDIR among them: the kernel does not ask again
    }
  }

  #init(low: number, high: number): number {
    const init = putInit(this.#out, this.#in);
    this.#options.onInit(init?.hasResend);
    return init ? putHeader(this.#out, low, high, init.lengthBytes) : this.#refuse(low, high, EPROTO);
  }

  /** ENOENT as an error, not as an entry with a lifetime: the slot may be there at the next look. */
  #lookup(low: number, high: number, parent: number, name: string): number {
    const parsed = parent === ROOT_NODE ? parseFileName(name) : undefined;
    const attributes = parsed && this.#attributes(nodeId(parsed.slot, parsed.file));
    return attributes ? putHeader(this.#out, low, high, putEntry(this.#out, attributes)) : this.#refuse(low, high, ENOENT);
  }

  #attributes(node: number): Attributes | undefined {
    if (node === ROOT_NODE) return { node, sizeBytes: 0, isDirectory: true };
    const { slot: number, file } = toSlot(node);
    const slot = this.#options.slots.get(number);
    return slot && { node, sizeBytes: file === 'names' ? slot.namesSizeBytes : slot.bytesSizeBytes, isDirectory: false };
  }

  #read(low: number, high: number, node: number): number {
    const { slot: number, file } = toSlot(node);
    const slot = this.#options.slots.get(number);
    if (slot === undefined) return this.#refuse(low, high, EIO);
    const offsetBytes = (this.#in[IN_WORD.readOffset] ?? 0) + (this.#in[IN_WORD.readOffset + 1] ?? 0) * 2 ** 32;
    const askedBytes = this.#in[IN_WORD.readSize] ?? 0;
    if (askedBytes > MAX_READ_BYTES) return this.#refuse(low, high, EINVAL);
    const fileBytes = file === 'names' ? slot.namesSizeBytes : slot.bytesSizeBytes;
    const sizeBytes = Math.max(0, Math.min(askedBytes, fileBytes - offsetBytes));
    if (file === 'names') return this.#copy(low, high, slot.namesFd, offsetBytes, sizeBytes, sizeBytes);
    const dataBytes = Math.max(0, Math.min(sizeBytes, slot.dataSizeBytes - offsetBytes));
    if (dataBytes > 0 && !hasRange(slot, offsetBytes, dataBytes)) {
      this.#options.onMiss({ slot: number, uniqueLow: low, uniqueHigh: high, offsetBytes, sizeBytes });
      return NO_REPLY;
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
