import { createGunzip, createInflateRaw, constants } from 'node:zlib';
import { alignBits, SPAN_HEADROOM_BYTES } from './align-bits.ts';
import { ZlibError } from './zlib-error.ts';

export interface InflateSpanOptions {
  /** How many of the high bits of the first compressed byte belong to the span, 0 to 7; 0 when the whole byte does. */
  readonly bits: number;
  /** The 32,768 uncompressed bytes before the span. */
  readonly window: Uint8Array;
  /** How many uncompressed bytes are wanted: all of the span's, or fewer from its start. */
  readonly sizeBytes: number;
  readonly kind: 'gzip' | 'uncompressed';
}

const WINDOW_BYTES = 32768;
const GZIP_TRAILER_BYTES = 8;
/** Deflate spends at least two bits on 258 bytes. */
const MAX_RATIO = 1032;
const MIN_CHUNK_BYTES = 64;

/**
 * Inflates one span of a layer on the thread pool. Spans may hold the end of a gzip member and the start of the next ones.
 *
 * @param input `SPAN_HEADROOM_BYTES` free bytes, then the span's compressed bytes. Changed in place: check the digest before, and do not keep
 *   the bytes for a second call. It must not be touched until the promise is settled
 * @returns exactly `sizeBytes` bytes. Of an uncompressed span it is a part of `input`
 * @throws {ZlibError} `DATA_CORRUPT` when the bytes are not deflate; `DATA_TRUNCATED` when fewer than `sizeBytes` bytes come out;
 *   `INVALID_ARGUMENT` when the numbers can belong to no span. Output beyond `sizeBytes` is never made
 */
export async function inflateSpan(input: Uint8Array, options: InflateSpanOptions): Promise<Uint8Array> {
  const { bits, window, sizeBytes, kind } = options;
  const compressedBytes = input.length - SPAN_HEADROOM_BYTES;
  if (compressedBytes < 0 || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
    throw new ZlibError('INVALID_ARGUMENT', `span of ${compressedBytes} compressed and ${sizeBytes} uncompressed bytes`);
  }
  if (kind === 'uncompressed') {
    if (sizeBytes > compressedBytes) throw truncated(compressedBytes, sizeBytes);
    return input.subarray(SPAN_HEADROOM_BYTES, SPAN_HEADROOM_BYTES + sizeBytes);
  }
  if (!Number.isInteger(bits) || bits < 0 || bits > 7 || window.length !== WINDOW_BYTES) {
    throw new ZlibError('INVALID_ARGUMENT', `span with ${bits} spare bits and a window of ${window.length} bytes`);
  }
  if (sizeBytes === 0) return new Uint8Array(0);
  // An allocation of the claimed size comes next: no claim that deflate cannot keep.
  if (sizeBytes > compressedBytes * MAX_RATIO) throw truncated(compressedBytes * MAX_RATIO, sizeBytes);

  const raw = input.subarray(alignBits(input, SPAN_HEADROOM_BYTES, bits));
  const first = await inflateUpTo('raw', raw, sizeBytes, window);
  if (first.output.length === sizeBytes) return first.output;
  // The member ended inside the span: its trailer was checked when the layer was indexed, the next ones are whole streams.
  const rest = raw.subarray(first.consumedBytes + GZIP_TRAILER_BYTES);
  if (rest.length === 0) throw truncated(first.output.length, sizeBytes);
  const missingBytes = sizeBytes - first.output.length;
  const second = await inflateUpTo('gzip', rest, missingBytes, undefined);
  if (second.output.length < missingBytes) throw truncated(first.output.length + second.output.length, sizeBytes);
  const whole = new Uint8Array(sizeBytes);
  whole.set(first.output);
  whole.set(second.output, first.output.length);
  return whole;
}

interface Inflated {
  /** At most as long as asked for. */
  readonly output: Uint8Array;
  readonly consumedBytes: number;
}

/** Inflates until `limitBytes` are there, the stream ends or the input does, whichever comes first. */
function inflateUpTo(format: 'raw' | 'gzip', input: Uint8Array, limitBytes: number, dictionary: Uint8Array | undefined): Promise<Inflated> {
  return new Promise((resolve, reject) => {
    // One output buffer of the wanted size: what fits in it arrives as one chunk and is handed on without a copy.
    const options = { chunkSize: Math.max(limitBytes, MIN_CHUNK_BYTES), finishFlush: constants.Z_SYNC_FLUSH };
    const stream = format === 'gzip' ? createGunzip(options) : createInflateRaw(dictionary ? { ...options, dictionary } : options);
    const chunks: Uint8Array[] = [];
    let length = 0;
    const finish = () => {
      const consumedBytes = stream.bytesWritten;
      stream.destroy();
      resolve({ output: join(chunks, length, limitBytes), consumedBytes });
    };
    stream.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length >= limitBytes) finish();
    });
    stream.on('end', finish);
    stream.on('error', (cause) => reject(new ZlibError('DATA_CORRUPT', `inflate: ${cause.message}`, { cause })));
    stream.end(input);
  });
}

function join(chunks: readonly Uint8Array[], length: number, limitBytes: number): Uint8Array {
  const [only] = chunks;
  const whole = chunks.length === 1 && only ? only : Buffer.concat(chunks, length);
  return whole.subarray(0, limitBytes);
}

function truncated(got: number, wanted: number): ZlibError {
  return new ZlibError('DATA_TRUNCATED', `span holds ${got} uncompressed bytes, ${wanted} wanted`);
}
