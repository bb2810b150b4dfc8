import { BLOCK_BYTES, isZeroBlock, parseHeader } from './header.ts';
import { isSparse, mergePax } from './merge-pax.ts';
import { MutableEntry, TYPE_FLAG, type TarEntry } from './tar-entry.ts';
import { TarError, type TarErrorCode } from './tar-error.ts';
import { fieldEnd } from './text.ts';

const PAX_HEADER = 0x78;
const GNU_LONG_NAME = 0x4c;
const GNU_LONG_LINK = 0x4b;
const GNU_SPARSE = 0x53;
const SLASH = 0x2f;
const MAX_EXTENSION_BYTES = 1 << 20;
const INITIAL_PAYLOAD_BYTES = 1024;

/** What the next byte is: of a header, of an extension's payload, or of something to skip; or the archive has ended. */
type State = 'header' | 'payload' | 'skip' | 'ended';

/** The payload of an extension header that waits for the header it is about. */
class Payload {
  bytes = new Uint8Array(INITIAL_PAYLOAD_BYTES);
  length = 0;

  start(sizeBytes: number): void {
    if (sizeBytes > this.bytes.length) this.bytes = new Uint8Array(sizeBytes);
    this.length = 0;
  }
}

/**
 * Reads the headers of a tar stream that is pushed in pieces of any size, and skips the data. V7, ustar, PAX, GNU and STAR headers, by the rules of Go's
 * archive/tar, whose reading decides what a zTOC says. Nothing is allocated for an entry.
 *
 * Differences: sparse files are refused, and so are numbers beyond 2^53.
 *
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html
 * @see https://www.gnu.org/software/tar/manual/html_node/Standard.html
 */
export class TarParser {
  readonly #onEntry: (entry: TarEntry) => void;
  readonly #entry = new MutableEntry();
  readonly #block = new Uint8Array(BLOCK_BYTES);
  readonly #pax = new Payload();
  readonly #longName = new Payload();
  readonly #longLink = new Payload();
  #state: State = 'header';
  #offset = 0;
  /** Bytes of a header that came in pieces. */
  #blockFill = 0;
  #zeroBlocks = 0;
  /** Bytes of data, or of a payload, still to come; then padding. */
  #remaining = 0;
  #padding = 0;
  /** The payload being read. */
  #payload: Payload = this.#pax;
  /** Where the headers of the entry being read begin. */
  #headerOffset = 0;

  /** @param onEntry called for each entry, with an object that is valid during the call only; what it throws comes out of `push` */
  constructor(onEntry: (entry: TarEntry) => void) {
    this.#onEntry = onEntry;
  }

  /** Whether the two blocks of zeros that end an archive were seen; what is pushed after them is ignored. */
  get ended(): boolean {
    return this.#state === 'ended';
  }

  /** How many bytes of the archive were read: once it has ended, where it does, which is right after the second block of zeros. */
  get offsetBytes(): number {
    return this.#offset;
  }

  /** Forgets everything: the next byte pushed is at this offset, and begins a header. */
  reset(offsetBytes = 0): void {
    this.#state = 'header';
    this.#offset = offsetBytes;
    this.#headerOffset = offsetBytes;
    this.#blockFill = 0;
    this.#zeroBlocks = 0;
    this.#remaining = 0;
    this.#padding = 0;
    this.#forgetExtensions();
  }

  /**
   * Takes the next bytes of the stream.
   *
   * @param bytes from `start` to `end`, exclusive; not kept
   * @throws {TarError} `HEADER_INVALID`, `EXTENSION_TOO_LARGE` or `SPARSE_UNSUPPORTED`; the parser is of no use afterwards
   */
  push(bytes: Uint8Array, start = 0, end = bytes.length): void {
    let at = start;
    while (at < end && this.#state !== 'ended') {
      if (this.#state === 'header') at = this.#readHeader(bytes, at, end);
      else if (this.#state === 'payload') at = this.#readPayload(bytes, at, end);
      else at = this.#skip(at, end);
    }
  }

  /**
   * Says that the stream is at its end. An archive may end without blocks of zeros, after a single one, and without the padding of its last file.
   *
   * @throws {TarError} `TRUNCATED` when it ends inside a header, an extension's payload or a file's data
   */
  finish(): void {
    if (this.#state === 'ended') return;
    if (this.#blockFill > 0 || this.#remaining > 0) throw this.#error('TRUNCATED', 'ends inside a header or a file');
    this.#state = 'ended';
  }

  #readHeader(bytes: Uint8Array, at: number, end: number): number {
    if (this.#blockFill === 0 && end - at >= BLOCK_BYTES) {
      this.#offset += BLOCK_BYTES;
      this.#handleBlock(bytes, at);
      return at + BLOCK_BYTES;
    }
    const length = Math.min(BLOCK_BYTES - this.#blockFill, end - at);
    this.#block.set(bytes.subarray(at, at + length), this.#blockFill);
    this.#blockFill += length;
    this.#offset += length;
    if (this.#blockFill === BLOCK_BYTES) {
      this.#blockFill = 0;
      this.#handleBlock(this.#block, 0);
    }
    return at + length;
  }

  #handleBlock(block: Uint8Array, start: number): void {
    if (block[start] === 0 && isZeroBlock(block, start)) {
      if (++this.#zeroBlocks === 2) this.#state = 'ended';
      return;
    }
    const entry = this.#entry;
    if (this.#zeroBlocks > 0 || !parseHeader(block, start, entry)) throw this.#error('HEADER_INVALID', 'is no tar header', BLOCK_BYTES);
    switch (entry.typeFlag) {
      case PAX_HEADER:
      case TYPE_FLAG.paxGlobal:
        this.#startPayload(this.#pax);
        break;
      case GNU_LONG_NAME:
        this.#startPayload(this.#longName);
        break;
      case GNU_LONG_LINK:
        this.#startPayload(this.#longLink);
        break;
      default:
        this.#handleFile();
    }
  }

  #startPayload(payload: Payload): void {
    const { sizeBytes } = this.#entry;
    if (sizeBytes < 0) throw this.#error('HEADER_INVALID', 'has a negative size', BLOCK_BYTES);
    if (sizeBytes > MAX_EXTENSION_BYTES) throw this.#error('EXTENSION_TOO_LARGE', `announces ${sizeBytes} bytes of extension`, BLOCK_BYTES);
    payload.start(sizeBytes);
    this.#payload = payload;
    this.#expect('payload', sizeBytes);
    if (sizeBytes === 0) this.#endPayload();
  }

  #readPayload(bytes: Uint8Array, at: number, end: number): number {
    const payload = this.#payload;
    const length = Math.min(this.#remaining, end - at);
    payload.bytes.set(bytes.subarray(at, at + length), payload.length);
    payload.length += length;
    this.#remaining -= length;
    this.#offset += length;
    if (this.#remaining === 0) this.#endPayload();
    return at + length;
  }

  #endPayload(): void {
    const { records, typeFlag } = this.#entry;
    this.#state = this.#padding > 0 ? 'skip' : 'header';
    if (this.#payload !== this.#pax) {
      this.#payload.length = fieldEnd(this.#payload.bytes, 0, this.#payload.length);
      return;
    }
    if (!records.parse(this.#pax.bytes, this.#pax.length))
      throw this.#error('HEADER_INVALID', 'ends a PAX header that is not "<length> <key>=<value>"');
    if (typeFlag === TYPE_FLAG.paxGlobal) this.#emit();
  }

  #handleFile(): void {
    const entry = this.#entry;
    if (!hasNoData(entry.typeFlag) && entry.sizeBytes < 0) throw this.#error('HEADER_INVALID', 'has a negative size', BLOCK_BYTES);
    if (!mergePax(entry)) throw this.#error('HEADER_INVALID', 'has a PAX record that is no number', BLOCK_BYTES);
    if (this.#longName.length > 0) entry.name.set(this.#longName.bytes, 0, this.#longName.length);
    if (this.#longLink.length > 0) entry.linkName.set(this.#longLink.bytes, 0, this.#longLink.length);
    if (entry.typeFlag === 0) {
      const { bytes, end, start } = entry.name;
      entry.typeFlag = end > start && bytes[end - 1] === SLASH ? TYPE_FLAG.directory : TYPE_FLAG.regular;
    }
    if (entry.typeFlag === GNU_SPARSE || isSparse(entry.records))
      throw this.#error('SPARSE_UNSUPPORTED', 'is of a sparse file', BLOCK_BYTES);
    const dataBytes = hasNoData(entry.typeFlag) ? 0 : entry.sizeBytes;
    if (dataBytes < 0) throw this.#error('HEADER_INVALID', 'has a negative size', BLOCK_BYTES);
    this.#expect('skip', dataBytes);
    this.#emit();
    this.#headerOffset = this.#offset + this.#remaining + this.#padding;
  }

  #expect(state: State, sizeBytes: number): void {
    this.#remaining = sizeBytes;
    this.#padding = (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;
    this.#state = sizeBytes === 0 ? 'header' : state;
  }

  #emit(): void {
    const entry = this.#entry;
    entry.headerOffsetBytes = this.#headerOffset;
    entry.offsetBytes = this.#offset;
    this.#onEntry(entry);
    this.#forgetExtensions();
  }

  #skip(at: number, end: number): number {
    const data = Math.min(this.#remaining, end - at);
    this.#remaining -= data;
    const padding = Math.min(this.#padding, end - at - data);
    this.#padding -= padding;
    this.#offset += data + padding;
    if (this.#remaining === 0 && this.#padding === 0) this.#state = 'header';
    return at + data + padding;
  }

  #forgetExtensions(): void {
    this.#entry.records.clear();
    this.#longName.length = 0;
    this.#longLink.length = 0;
  }

  #error(code: TarErrorCode, what: string, back = 0): TarError {
    return new TarError(code, `tar: at ${this.#offset - back}: ${what}`);
  }
}

/** Links, devices, directories and pipes have no data, whatever size their header claims. */
function hasNoData(typeFlag: number): boolean {
  return typeFlag >= TYPE_FLAG.hardLink && typeFlag <= TYPE_FLAG.fifo;
}
