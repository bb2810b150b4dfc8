import { createHash } from 'node:crypto';
import { TarError, TarParser } from '@soci/tar';
import { type Checkpoint, CheckpointedInflate, type InflateEngine, INPUT_BYTES, ZlibError } from '@soci/zlib';
import { CHECKPOINT_BYTES, type ZtocAlgorithm } from './checkpoints.ts';
import { EntryTable } from './entry-table.ts';
import { SpanDigests } from './span-digests.ts';
import { writeZtoc } from './write-ztoc.ts';
import { ZtocError, type ZtocErrorCode } from './ztoc-error.ts';

/** More checkpoints do not fit into a zTOC. */
const MAX_CHECKPOINTS = Math.floor(2 ** 31 / CHECKPOINT_BYTES);

/** Spans of an uncompressed layer cost a digest each; a zTOC of more is none that anybody wants. */
const MAX_PLAIN_SPANS = 2 ** 20;

/** Checkpoints before the first byte comes out: one for each empty member or block. A few bytes make 32 KiB each, and no honest layer has many. */
const MAX_EMPTY_SPANS = 1024;

/** What is made of a layer. */
export interface BuiltZtoc {
  readonly bytes: Uint8Array;
  /** `sha256:<64 hex digits>` of `bytes`. */
  readonly digest: string;
  readonly sizeBytes: number;
  /** Size of the layer that was read. */
  readonly compressedSizeBytes: number;
  /** Where its tar ends, as in `Ztoc.uncompressedSizeBytes`. */
  readonly uncompressedSizeBytes: number;
  readonly spanCount: number;
  readonly entryCount: number;
  /** Whether an entry has an extended attribute (a PAX record `SCHILY.xattr.*`). */
  readonly hasXattrs: boolean;
  /** Whether a name ends in `.wh..wh..opq`. A layer with neither can be mounted without xattr support. */
  readonly hasOpaque: boolean;
}

export interface LayerScannerOptions {
  readonly algorithm: ZtocAlgorithm;
  readonly spanSize: bigint;
  /** Called for gzip layers only: choosing an engine takes a moment. */
  readonly engine: () => InflateEngine;
}

/** Reads a layer once, in pieces: inflates it, finds its checkpoints, hashes its spans and reads the tar headers in what comes out. */
export class LayerScanner implements Disposable {
  readonly #options: LayerScannerOptions;
  readonly #entries = new EntryTable();
  readonly #tar = new TarParser((entry) => this.#entries.add(entry));
  readonly #digests = new SpanDigests();
  readonly #checkpoints: Checkpoint[] = [];
  readonly #inflate: CheckpointedInflate | undefined;
  /** Where compressed bytes are put for `push`. It must not be transferred to another thread. */
  readonly input: Uint8Array;
  #bytesRead = 0;
  #emptySpans = 0;

  /** @throws {ZlibError} `ENGINE_UNAVAILABLE` */
  constructor(options: LayerScannerOptions) {
    this.#options = options;
    if (options.algorithm === 'gzip') this.#inflate = this.#openInflate();
    this.input = this.#inflate?.input ?? new Uint8Array(INPUT_BYTES);
  }

  get bytesRead(): number {
    return this.#bytesRead;
  }

  /**
   * Takes `length` bytes from the start of `input` as the next of the layer.
   *
   * @throws {ZtocError} `LAYER_CORRUPT`, `ENTRY_UNSUPPORTED`, `SPARSE_UNSUPPORTED` or `TOO_LARGE`
   */
  push(length: number): void {
    if (length === 0) return;
    translated(() => {
      this.#digests.startPiece(this.input, length);
      if (this.#inflate) this.#inflate.push(length);
      else this.#pushPlain(length);
      this.#digests.endPiece();
      this.#bytesRead += length;
    });
  }

  /** @throws {ZtocError} `LAYER_CORRUPT` when the layer is not whole; `TOO_LARGE` */
  finish(buildTool: string): BuiltZtoc {
    translated(() => {
      this.#inflate?.finish();
      this.#tar.finish();
    });
    const spanDigests = this.#digests.finish();
    const bytes = writeZtoc({
      buildTool,
      algorithm: this.#options.algorithm,
      spanSize: this.#options.spanSize,
      compressedSizeBytes: this.#bytesRead,
      uncompressedSizeBytes: this.#tar.offsetBytes,
      entries: this.#entries,
      checkpoints: this.#checkpoints,
      spanDigests,
    });
    return {
      bytes,
      digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`,
      sizeBytes: bytes.length,
      compressedSizeBytes: this.#bytesRead,
      uncompressedSizeBytes: this.#tar.offsetBytes,
      spanCount: spanDigests.length,
      entryCount: this.#entries.count,
      hasXattrs: this.#entries.hasXattrs,
      hasOpaque: this.#entries.hasOpaque,
    };
  }

  [Symbol.dispose](): void {
    this.#inflate?.[Symbol.dispose]();
  }

  #openInflate(): CheckpointedInflate {
    return new CheckpointedInflate({
      engine: this.#options.engine(),
      spanSizeBytes: Number(this.#options.spanSize),
      onCheckpoint: (checkpoint) => {
        if (this.#checkpoints.length === MAX_CHECKPOINTS) throw new ZtocError('TOO_LARGE', `more than ${MAX_CHECKPOINTS} spans`);
        if (checkpoint.outputOffset === 0 && ++this.#emptySpans > MAX_EMPTY_SPANS)
          throw new ZtocError('TOO_LARGE', `more than ${MAX_EMPTY_SPANS} empty members or blocks before the first byte`);
        this.#checkpoints.push(checkpoint);
        this.#digests.cut(checkpoint.inputOffset, checkpoint.bits);
      },
      onOutput: (bytes, start, end) => this.#tar.push(bytes, start, end),
    });
  }

  #pushPlain(length: number): void {
    const spanSizeBytes = Number(this.#options.spanSize);
    const end = this.#bytesRead + length;
    for (let cut = Math.ceil(this.#bytesRead / spanSizeBytes) * spanSizeBytes; cut < end; cut += spanSizeBytes) {
      if (this.#digests.finished.length === MAX_PLAIN_SPANS) throw new ZtocError('TOO_LARGE', `more than ${MAX_PLAIN_SPANS} spans`);
      this.#digests.cut(cut, 0);
    }
    this.#tar.push(this.input, 0, length);
  }
}

/** Errors of the formats below become ours. */
function translated(work: () => void): void {
  try {
    work();
  } catch (cause) {
    if (cause instanceof TarError) throw new ZtocError(codeOf(cause), `layer: ${cause.message}`, { cause });
    if (cause instanceof ZlibError) throw new ZtocError('LAYER_CORRUPT', `layer: ${cause.message}`, { cause });
    throw cause;
  }
}

function codeOf(error: TarError): ZtocErrorCode {
  return error.code === 'SPARSE_UNSUPPORTED' ? 'SPARSE_UNSUPPORTED' : 'LAYER_CORRUPT';
}
