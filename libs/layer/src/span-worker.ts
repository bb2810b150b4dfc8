import { writeSync } from 'node:fs';
import { hash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { describeError } from '@soci/errors';
import { inflateSpan, SPAN_HEADROOM_BYTES } from '@soci/zlib';
import { hasBit, setBit } from './bitmap.ts';
import { LayerError, type LayerErrorCode } from './errors.ts';
import { readFully } from './read-fully.ts';
import { DIGEST_BYTES, dataLength, type SpanIndex, viewSpanIndex } from './span-index.ts';
import { checkSpanHeaders } from './tar-headers.ts';

/** What the pool asks of the thread that works on spans. */
export type SpanJob =
  | {
      readonly kind: 'open';
      readonly layer: number;
      readonly shared: SharedArrayBuffer;
      readonly dataFd: number;
      readonly ztocFd: number;
      readonly onDisk: Int32Array;
    }
  | { readonly kind: 'close'; readonly layer: number }
  /** `input`: head-room, then the span's bytes as they came. */
  | { readonly kind: 'store'; readonly id: number; readonly layer: number; readonly span: number; readonly input: Uint8Array<ArrayBuffer> }
  | {
      readonly kind: 'store-plain';
      readonly id: number;
      readonly layer: number;
      readonly span: number;
      readonly input: Uint8Array<ArrayBuffer>;
    }
  | { readonly kind: 'verify'; readonly id: number; readonly layer: number; readonly span: number; readonly checksum: number };

export type SpanJobResult =
  | { readonly id: number; readonly checksum: number }
  | { readonly id: number; readonly code: LayerErrorCode; readonly message: string };

interface OpenLayer {
  readonly index: SpanIndex;
  readonly dataFd: number;
  readonly ztocFd: number;
  readonly onDisk: Int32Array;
}

const WINDOW_BYTES = 32_768;
/** What a span that begins a layer has in front of it. */
const NO_WINDOW = new Uint8Array(WINDOW_BYTES);
const layers = new Map<number, OpenLayer>();
const port = parentPort;

port?.on('message', (job: SpanJob) => {
  if (job.kind === 'open') layers.set(job.layer, { ...job, index: viewSpanIndex(job.shared) });
  else if (job.kind === 'close') layers.delete(job.layer);
  else
    void run(job).then(
      (checksum) => port.postMessage({ id: job.id, checksum } satisfies SpanJobResult),
      (error: unknown) => port.postMessage({ id: job.id, ...asFailure(error) } satisfies SpanJobResult),
    );
});

async function run(job: Exclude<SpanJob, { kind: 'open' | 'close' }>): Promise<number> {
  const layer = layers.get(job.layer);
  if (layer === undefined) throw new LayerError('CLOSED', 'layer is closed');
  switch (job.kind) {
    case 'store':
      return store(layer, job.span, await unpack(layer, job.span, job.input));
    case 'store-plain':
      return store(layer, job.span, job.input);
    case 'verify':
      return verify(layer, job.span, job.checksum);
  }
}

/** The span's bytes of the tar, once its compressed bytes are known to be those the zTOC speaks of. */
async function unpack({ index, ztocFd }: OpenLayer, span: number, input: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const blobBytes = input.subarray(SPAN_HEADROOM_BYTES);
  const want = index.digests.subarray(span * DIGEST_BYTES, (span + 1) * DIGEST_BYTES);
  if (hash('sha256', blobBytes, 'buffer').compare(want) !== 0) throw new LayerError('DIGEST_MISMATCH', 'digest mismatch');
  const sizeBytes = dataLength(index, span);
  if (index.kind === 'uncompressed') return blobBytes.subarray(0, sizeBytes);
  const windowAt = index.windowOffsetBytes[span] ?? -1;
  const window = windowAt < 0 ? NO_WINDOW : readFully(ztocFd, new Uint8Array(WINDOW_BYTES), windowAt);
  if (windowAt >= 0 && crc32(window) !== index.windowChecksums[span]) throw new LayerError('STORE_BROKEN', 'zTOC on disk is damaged');
  try {
    return await inflateSpan(input, { kind: 'gzip', bits: index.bits[span] ?? 0, sizeBytes, window });
  } catch (cause) {
    throw new LayerError('SPAN_INVALID', `cannot be inflated: ${describeError(cause)}`, { cause });
  }
}

function store(layer: OpenLayer, span: number, bytes: Uint8Array): number {
  const { index, dataFd, onDisk } = layer;
  const offsetBytes = index.startBytes[span] ?? 0;
  if (bytes.length !== dataLength(index, span))
    throw new LayerError('SPAN_INVALID', `inflates to ${bytes.length} bytes, not ${dataLength(index, span)}`);
  checkSpanHeaders(index, span, bytes, {
    isOnDisk: (other) => hasBit(onDisk, other),
    read: (into, at) => readFully(dataFd, into, at),
  });
  for (let done = 0; done < bytes.length; ) done += writeSync(dataFd, bytes, done, bytes.length - done, offsetBytes + done);
  setBit(onDisk, span); // here and not when the main thread hears of it: the next span's split headers go by it
  return crc32(bytes);
}

function verify({ index, dataFd, onDisk }: OpenLayer, span: number, checksum: number): number {
  const bytes = readFully(dataFd, new Uint8Array(dataLength(index, span)), index.startBytes[span] ?? 0);
  const found = crc32(bytes);
  if (found !== checksum) throw new LayerError('DIGEST_MISMATCH', 'checksum mismatch on disk');
  setBit(onDisk, span);
  return found;
}

function asFailure(error: unknown): { readonly code: LayerErrorCode; readonly message: string } {
  return { code: error instanceof LayerError ? error.code : 'STORE_BROKEN', message: describeError(error) };
}
