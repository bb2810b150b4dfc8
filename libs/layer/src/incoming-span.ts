import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { describeError } from '@soci/errors';
import { inflateSpan, SPAN_HEADROOM_BYTES } from '@soci/zlib';
import { setBit } from './bitmap.ts';
import { LayerError } from './errors.ts';
import type { OpenLayer } from './open-layer.ts';
import { blobLength, DIGEST_BYTES, dataLength } from './span-index.ts';
import { checkSpanHeaders } from './tar-headers.ts';
import { UnalignedInflate } from './unaligned-inflate.ts';

const WINDOW_BYTES = 32_768;
/** What a span that begins a layer has in front of it. */
const NO_WINDOW = new Uint8Array(WINDOW_BYTES);

/**
 * A span on its way from the network to the data file. Everything is done as its bytes arrive: hash, inflate, checksum, write; so that little is left
 * to do when the last one comes. What is written before the digest was checked is in no map and behind no bit: nobody reads it.
 */
export class IncomingSpan {
  readonly #layer: OpenLayer;
  readonly #span: number;
  readonly #hash = createHash('sha256');
  /** Head-room, then the bytes as they came. */
  readonly #input: Uint8Array;
  readonly #sizeBytes: number;
  readonly #window: Uint8Array;
  #filled = SPAN_HEADROOM_BYTES;
  readonly #inflate: UnalignedInflate | undefined;
  readonly #ended: Promise<void>;
  readonly #output: Uint8Array[] = [];
  #outputBytes = 0;
  #writtenBytes = 0;
  #checksum = 0;
  #failure: Error | undefined;

  constructor(layer: OpenLayer, span: number) {
    const { index } = layer;
    this.#layer = layer;
    this.#span = span;
    this.#input = new Uint8Array(SPAN_HEADROOM_BYTES + blobLength(index, span));
    this.#sizeBytes = dataLength(index, span);
    this.#window = index.kind === 'gzip' ? windowOf(layer, span) : NO_WINDOW;
    if (index.kind === 'gzip')
      this.#inflate = new UnalignedInflate({ bits: index.bits[span] ?? 0, window: this.#window, sizeBytes: this.#sizeBytes });
    this.#ended = this.#inflate === undefined ? Promise.resolve() : this.#collect(this.#inflate);
  }

  /** The next bytes; no more than the span has. */
  push(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#input.set(bytes, this.#filled);
    const taken = this.#input.subarray(this.#filled, this.#filled + bytes.length);
    this.#filled += bytes.length;
    if (this.#inflate !== undefined) {
      if (!this.#inflate.stream.destroyed) this.#inflate.write(taken);
    } else this.#write(taken.subarray(0, Math.max(0, this.#sizeBytes - this.#outputBytes)));
  }

  /**
   * All bytes were pushed. Checks them, completes the data file and marks the span as being there.
   * @returns checksum of the inflated bytes
   * @throws {LayerError} `DIGEST_MISMATCH`, `SPAN_INVALID`, `HEADER_MISMATCH`, `STORE_BROKEN`
   */
  async finish(): Promise<number> {
    const { index, onDisk } = this.#layer;
    const want = index.digests.subarray(this.#span * DIGEST_BYTES, (this.#span + 1) * DIGEST_BYTES);
    if (this.#hash.digest().compare(want) !== 0) {
      this.abandon();
      throw new LayerError('DIGEST_MISMATCH', 'digest mismatch');
    }
    if (this.#inflate?.stream.destroyed === false) this.#inflate.stream.end();
    await this.#ended;
    if (this.#failure !== undefined) throw this.#failure;
    const bytes = this.#outputBytes === this.#sizeBytes ? joined(this.#output, this.#sizeBytes) : await this.#inflateAgain();
    checkSpanHeaders(index, this.#span, bytes, this.#layer);
    setBit(onDisk, this.#span); // here and not when the main thread hears of it: the next span's split headers go by it
    return this.#checksum;
  }

  /** The rest will not come. */
  abandon(): void {
    this.#inflate?.stream.destroy();
  }

  #collect({ stream }: UnalignedInflate): Promise<void> {
    return new Promise((resolve) => {
      stream.on('data', (chunk: Uint8Array) => {
        this.#guarded(() => this.#write(chunk.subarray(0, this.#sizeBytes - this.#outputBytes)));
        if (this.#outputBytes === this.#sizeBytes) stream.destroy(); // what a span says beyond its size is nobody's
      });
      stream.on('end', resolve);
      stream.on('close', resolve);
      stream.on('error', () => resolve()); // inflating again will say what is wrong
    });
  }

  /** A disk that fails while bytes arrive is heard of at the end. */
  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#failure ??= error instanceof Error ? error : new LayerError('STORE_BROKEN', describeError(error));
      this.abandon();
    }
  }

  #write(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#output.push(chunk);
    this.#outputBytes += chunk.length;
    this.#put(chunk);
  }

  #put(chunk: Uint8Array): void {
    this.#layer.write(chunk, (this.#layer.index.startBytes[this.#span] ?? 0) + this.#writtenBytes);
    this.#checksum = crc32(chunk, this.#checksum);
    this.#writtenBytes += chunk.length;
  }

  /** A gzip member ended inside the span, or its bytes are no deflate. */
  async #inflateAgain(): Promise<Uint8Array> {
    const { index } = this.#layer;
    try {
      const options = { kind: index.kind, bits: index.bits[this.#span] ?? 0, sizeBytes: this.#sizeBytes, window: this.#window };
      const bytes = await inflateSpan(this.#input, options);
      this.#writtenBytes = 0;
      this.#checksum = 0;
      this.#put(bytes);
      return bytes;
    } catch (cause) {
      if (cause instanceof Error && cause.name === 'ZlibError')
        throw new LayerError('SPAN_INVALID', `cannot be inflated: ${describeError(cause)}`, { cause });
      throw cause;
    }
  }
}

function windowOf(layer: OpenLayer, span: number): Uint8Array {
  const { index } = layer;
  const at = index.windowOffsetBytes[span] ?? -1;
  if (at < 0) return NO_WINDOW;
  const window = layer.readZtoc(new Uint8Array(WINDOW_BYTES), at);
  if (crc32(window) !== index.windowChecksums[span]) throw new LayerError('STORE_BROKEN', 'zTOC on disk is damaged');
  return window;
}

/** The chunks as one: they are parts of one buffer, one behind the other, unless it was too small. */
function joined(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const [first] = chunks;
  if (first === undefined) return new Uint8Array(0);
  let next = first.byteOffset;
  for (const chunk of chunks) {
    if (chunk.buffer !== first.buffer || chunk.byteOffset !== next) return Buffer.concat(chunks, length);
    next += chunk.length;
  }
  return new Uint8Array(first.buffer, first.byteOffset, length);
}
