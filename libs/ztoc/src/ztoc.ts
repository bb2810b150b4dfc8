import { type Checkpoints, readGzipCheckpoints, readTarCheckpoints, type ZtocAlgorithm } from './checkpoints.ts';
import type { TocColumns } from './columns.ts';
import { FlatbufferReader, guarded } from './flatbuffer-reader.ts';
import { readColumns } from './read-columns.ts';
import { ZtocError } from './ztoc-error.ts';

const DIGEST = /^sha256:[0-9a-f]{64}$/;

export interface ParseOptions {
  /**
   * Take a zTOC with spans that inflate to nothing: the Go tool builds them for layers that begin with an empty gzip member or block, and refuses to serve them. Their
   * starts in the tar are then equal, and `spanAt` gives the last of equals. Default: refused.
   */
  readonly allowEmptySpans?: boolean;
}

/**
 * A zTOC: the table of contents of a layer, and the places in its compressed bytes where decoding may start ("spans").
 * Nothing is copied out of the blob: windows, names and digests are read in place.
 */
export class Ztoc {
  /** The blob itself, which the object keeps. */
  readonly bytes: Uint8Array;
  /** `0.9`; no reader looks at it. */
  readonly version: string;
  readonly buildTool: string;
  /** Size of the layer as it stands in the registry. */
  readonly compressedSizeBytes: number;
  /**
   * Where the tar ends: right after its second block of zeros, or at the end of the stream when it has none. The uncompressed stream itself may be
   * longer (GNU tar pads to 10,240 bytes), and nothing in a zTOC tells by how much.
   */
  readonly uncompressedSizeBytes: number;
  readonly algorithm: ZtocAlgorithm;
  /** The span size asked for when it was built, as a number: beyond 2^53 not exact. Spans are about that long, or longer. */
  readonly spanSizeBytes: number;
  /** The same, exact. */
  readonly spanSize: bigint;
  readonly spanCount: number;
  /**
   * Where each span starts in the uncompressed stream, `spanCount + 1` numbers, strictly increasing but for the last: that is `streamEndBytes`.
   * Span `i` inflates to exactly the bytes from entry `i` to entry `i + 1`.
   */
  readonly spanStartBytes: Float64Array;
  /**
   * How far the uncompressed stream can be had by spans. At least `uncompressedSizeBytes`: when the padding after the tar is longer than a span, spans
   * begin in it. A last file whose data is not padded to 512 bytes ends here, so whoever needs whole blocks fills up with zeros.
   */
  readonly streamEndBytes: number;
  readonly #reader: FlatbufferReader;
  readonly #toc: number;
  readonly #checkpoints: Checkpoints;
  readonly #digestVector: number;

  private constructor(bytes: Uint8Array, { allowEmptySpans = false }: ParseOptions) {
    const reader = new FlatbufferReader(bytes);
    const root = reader.root();
    const info = reader.table(root, 5);
    this.#reader = reader;
    this.bytes = bytes;
    this.version = latin1(reader.byteRange(root, 0));
    this.buildTool = new TextDecoder().decode(reader.byteRange(root, 1));
    this.compressedSizeBytes = reader.size(root, 2);
    this.uncompressedSizeBytes = reader.size(root, 3);
    this.#toc = reader.table(root, 4);
    this.algorithm = toAlgorithm(reader.int8(info, 0, 1));
    const blob = reader.byteRange(info, 3);
    this.#checkpoints = this.algorithm === 'gzip' ? readGzipCheckpoints(blob) : readTarCheckpoints(blob);
    this.spanSize = this.#checkpoints.spanSize;
    this.spanSizeBytes = Number(this.spanSize);
    this.spanCount = this.#checkpoints.count;
    this.#digestVector = checkDigests(reader, info, this.spanCount);
    this.spanStartBytes = this.#readSpanStarts(allowEmptySpans ? 0 : 1);
    this.streamEndBytes = this.spanStartBytes[this.spanCount] ?? 0;
  }

  /**
   * Reads a zTOC from an untrusted source. The table of contents is looked at by `columns()` only.
   *
   * @param bytes kept, not copied: they must not change afterwards
   * @throws {ZtocError} `INVALID` when offsets leave the blob, counts of spans differ, or spans are empty, out of order or outside the sizes; `UNSUPPORTED` when the
   *   algorithm is unknown
   */
  static parse(bytes: Uint8Array, options: ParseOptions = {}): Ztoc {
    return guarded('zTOC', () => new Ztoc(bytes, options));
  }

  /**
   * The table of contents as columns, read anew at each call: keep the result.
   *
   * @throws {ZtocError} `INVALID` when entries overlap, are not on block borders or reach past the end of the tar
   */
  columns(): TocColumns {
    return readColumns(this.#reader, this.#toc, this.uncompressedSizeBytes);
  }

  /**
   * Where the compressed bytes of a span are in the layer. Neighbours share a byte when the later one's `bits` are not 0. Bytes before the first span (the
   * gzip header) belong to none; the last span reaches to the end of the layer.
   */
  compressedRange(span: number): { offsetBytes: number; endBytes: number } {
    this.#checkSpan(span);
    const offsetBytes = this.#checkpoints.inputOffset(span) - (this.bits(span) === 0 ? 0 : 1);
    const endBytes = span === this.spanCount - 1 ? this.compressedSizeBytes : this.#checkpoints.inputOffset(span + 1);
    return { offsetBytes, endBytes };
  }

  /** How many high bits of the span's first compressed byte belong to it, 0 to 7; 0 when the whole byte does. */
  bits(span: number): number {
    this.#checkSpan(span);
    return this.#checkpoints.bits(span);
  }

  /** The 32,768 uncompressed bytes before the span, to decode it with; zeros where there are none. A part of `bytes`: not to be written to. */
  window(span: number): Uint8Array {
    this.#checkSpan(span);
    return this.#checkpoints.window(span);
  }

  /** `sha256:<64 hex digits>` of the span's compressed bytes. */
  digest(span: number): string {
    this.#checkSpan(span);
    return digestAt(this.#reader, this.#digestVector, span);
  }

  /** The span that holds this offset of the uncompressed stream; the last one for offsets past the end. */
  spanAt(uncompressedOffset: number): number {
    let low = 0;
    let high = this.spanCount - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.spanStartBytes[middle] ?? 0) <= uncompressedOffset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #readSpanStarts(minSpanBytes: number): Float64Array {
    const starts = new Float64Array(this.spanCount + 1);
    let input = -1;
    let output = -minSpanBytes;
    for (let i = 0; i < this.spanCount; i++) {
      const nextInput = this.#checkpoints.inputOffset(i);
      const nextOutput = this.#checkpoints.outputOffset(i);
      const bits = this.#checkpoints.bits(i);
      if (nextInput <= input || nextOutput < output + minSpanBytes || bits > 7 || (bits > 0 && nextInput === 0)) {
        throw new ZtocError('INVALID', `zTOC: span ${i} starts at ${nextInput} and ${nextOutput}, ${bits} bits: not after the one before`);
      }
      input = nextInput;
      output = nextOutput;
      starts[i] = output;
    }
    starts[this.spanCount] = this.algorithm === 'gzip' ? Math.max(output, this.uncompressedSizeBytes) : this.compressedSizeBytes;
    if (starts[0] !== 0 || input >= this.compressedSizeBytes || (this.algorithm === 'gzip' && this.spanCount === 0)) {
      throw new ZtocError('INVALID', `zTOC: spans do not cover the layer of ${this.compressedSizeBytes} bytes`);
    }
    return starts;
  }

  #checkSpan(span: number): void {
    if (!(span >= 0 && span < this.spanCount)) throw new RangeError(`span ${span} of ${this.spanCount}`);
  }
}

function toAlgorithm(value: number): ZtocAlgorithm {
  if (value === 1) return 'gzip';
  if (value === 2) return 'uncompressed';
  throw new ZtocError('UNSUPPORTED', `zTOC: compression algorithm ${value}`);
}

/** Position of the vector of digests, all of which were looked at. */
function checkDigests(reader: FlatbufferReader, info: number, spanCount: number): number {
  const maxSpan = reader.int32(info, 1);
  const field = reader.field(info, 2);
  const vector = field === 0 ? 0 : reader.follow(field);
  const digests = field === 0 ? 0 : reader.vectorLength(vector);
  if (maxSpan !== spanCount - 1 || digests !== spanCount) {
    throw new ZtocError('INVALID', `zTOC: ${spanCount} checkpoints, ${digests} digests, last span ${maxSpan}`);
  }
  for (let i = 0; i < digests; i++) {
    if (!DIGEST.test(digestAt(reader, vector, i))) throw new ZtocError('INVALID', `zTOC: digest of span ${i} is none`);
  }
  return vector;
}

function digestAt(reader: FlatbufferReader, vector: number, span: number): string {
  return latin1(reader.stringAt(reader.follow(vector + 4 + 4 * span)));
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}
