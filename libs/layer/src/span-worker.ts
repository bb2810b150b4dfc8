import { parentPort } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { describeError } from '@soci/errors';
import { setBit } from './bitmap.ts';
import { LayerError, type LayerErrorCode } from './errors.ts';
import { IncomingSpan } from './incoming-span.ts';
import { OpenLayer } from './open-layer.ts';
import { dataLength, viewSpanIndex } from './span-index.ts';
import { checkSpanHeaders } from './tar-headers.ts';

type Bytes = Uint8Array<ArrayBuffer>;

/** What the pool asks of the thread that works on spans. Work has an id, under which its result comes back. */
export type SpanJob =
  | {
      readonly kind: 'open';
      readonly layer: number;
      readonly shared: SharedArrayBuffer;
      readonly dataPath: string;
      readonly ztocPath: string;
      readonly onDisk: Int32Array;
    }
  | { readonly kind: 'close'; readonly layer: number }
  /** Compressed bytes of a span, in order, the first with the span's number, the last with `isLast`. */
  | {
      readonly kind: 'piece';
      readonly id: number;
      readonly layer: number;
      readonly span: number;
      readonly bytes: Bytes;
      readonly isLast: boolean;
    }
  | { readonly kind: 'abandon'; readonly id: number }
  /** The span's bytes of the tar. */
  | { readonly kind: 'plain'; readonly id: number; readonly layer: number; readonly span: number; readonly bytes: Bytes }
  | { readonly kind: 'verify'; readonly id: number; readonly layer: number; readonly span: number; readonly checksum: number };

export type SpanJobResult =
  | { readonly id: number; readonly checksum: number }
  | { readonly id: number; readonly code: LayerErrorCode; readonly message: string };

const layers = new Map<number, OpenLayer>();
const incoming = new Map<number, IncomingSpan>();
/** Spans that failed before their last bytes came. */
const failures = new Map<number, unknown>();
const port = parentPort;

port?.on('message', (job: SpanJob) => {
  switch (job.kind) {
    case 'open':
      layers.set(job.layer, new OpenLayer(viewSpanIndex(job.shared), job.onDisk, job));
      return;
    case 'close':
      layers.get(job.layer)?.close();
      layers.delete(job.layer);
      return;
    case 'piece':
      receive(job);
      return;
    case 'abandon':
      incoming.get(job.id)?.abandon();
      incoming.delete(job.id);
      failures.delete(job.id);
      return;
    case 'plain':
      answer(job.id, () => storePlain(layerOf(job.layer), job.span, job.bytes));
      return;
    case 'verify':
      answer(job.id, () => verify(layerOf(job.layer), job.span, job.checksum));
  }
});

function receive({ id, layer, span, bytes, isLast }: Extract<SpanJob, { kind: 'piece' }>): void {
  try {
    if (!failures.has(id)) {
      let open = incoming.get(id);
      if (open === undefined) incoming.set(id, (open = new IncomingSpan(layerOf(layer), span)));
      open.push(bytes);
    }
  } catch (error) {
    failures.set(id, error);
  }
  if (!isLast) return;
  const open = incoming.get(id);
  const failure = failures.get(id);
  incoming.delete(id);
  failures.delete(id);
  answer(id, () => {
    if (failure !== undefined) open?.abandon();
    if (open === undefined || failure !== undefined) throw failure;
    return open.finish();
  });
}

function answer(id: number, work: () => number | Promise<number>): void {
  void Promise.try(work).then(
    (checksum) => port?.postMessage({ id, checksum } satisfies SpanJobResult),
    (error: unknown) => port?.postMessage({ id, ...asFailure(error) } satisfies SpanJobResult),
  );
}

function layerOf(number: number): OpenLayer {
  const layer = layers.get(number);
  if (layer === undefined) throw new LayerError('CLOSED', 'layer is closed');
  return layer;
}

function storePlain(layer: OpenLayer, span: number, bytes: Uint8Array): number {
  const { index, onDisk } = layer;
  if (bytes.length !== dataLength(index, span))
    throw new LayerError('SPAN_INVALID', `has ${bytes.length} bytes, not ${dataLength(index, span)}`);
  checkSpanHeaders(index, span, bytes, layer);
  layer.write(bytes, index.startBytes[span] ?? 0);
  setBit(onDisk, span);
  return crc32(bytes);
}

function verify(layer: OpenLayer, span: number, checksum: number): number {
  const { index, onDisk } = layer;
  const found = crc32(layer.read(new Uint8Array(dataLength(index, span)), index.startBytes[span] ?? 0));
  if (found !== checksum) throw new LayerError('DIGEST_MISMATCH', 'checksum mismatch on disk');
  setBit(onDisk, span);
  return found;
}

function asFailure(error: unknown): { readonly code: LayerErrorCode; readonly message: string } {
  const isOfSystem = error instanceof Error && 'errno' in error;
  return { code: error instanceof LayerError ? error.code : isOfSystem ? 'DISK_FAILED' : 'STORE_BROKEN', message: describeError(error) };
}
