import { SPAN_HEADROOM_BYTES } from '@soci/zlib';
import type { BlobSource, FetchPriority } from './blob-source.ts';
import { LayerError } from './errors.ts';
import type { LayerData } from './layer-data.ts';
import { blobLength } from './span-index.ts';

/** Neighbouring spans of a layer, fetched with one request. */
export interface SpanRun {
  readonly layer: LayerData;
  readonly first: number;
  /** Not below `first`. */
  readonly last: number;
  readonly priority: FetchPriority;
}

export interface SpanSink {
  /** Compressed bytes came. */
  received(bytes: number): void;
  /** A span's bytes are all there, behind `SPAN_HEADROOM_BYTES` of room; the sink owns the buffer. The fetch goes on when the promise settles. */
  span(span: number, input: Uint8Array<ArrayBuffer>): Promise<void> | undefined;
}

/**
 * Fetches the spans of a run with one ranged request and hands each over as soon as it is complete.
 * @param stallMs the source may be silent for that long
 * @throws {LayerError} `STALLED`, `SHORT_ANSWER`, and what the source throws
 */
export async function fetchSpans(
  source: BlobSource,
  image: { readonly reference: string; readonly namespaces?: readonly string[] },
  run: SpanRun,
  sink: SpanSink,
  stallMs: number,
  signal: AbortSignal,
): Promise<void> {
  const { layer, first, last, priority } = run;
  const { blobStartBytes, blobEndBytes } = layer.index;
  const offsetBytes = blobStartBytes[first] ?? 0;
  const lengthBytes = (blobEndBytes[last] ?? 0) - offsetBytes;
  const watch = new AbortController();
  const timer = setTimeout(() => watch.abort(new LayerError('STALLED', `layer ${layer.digest}: nothing came for ${stallMs} ms`)), stallMs);
  const stop = AbortSignal.any([signal, watch.signal]);
  try {
    let span = first;
    let filler = new SpanFiller(layer, span);
    const pieces = source.read({ ...image, digest: layer.digest, offsetBytes, lengthBytes, priority }, stop);
    for await (const piece of pieces) {
      stop.throwIfAborted();
      if (span > last) return; // bytes that nobody asked for
      timer.refresh();
      sink.received(piece.length);
      for (let rest = filler.fill(piece); rest !== undefined; rest = filler.fill(rest)) {
        const done = filler;
        if (span < last) filler = new SpanFiller(layer, span + 1, done);
        const room = sink.span(span++, done.bytes);
        if (room !== undefined) {
          await room;
          timer.refresh();
        }
        if (span > last) break;
      }
    }
    if (span > last) return;
    stop.throwIfAborted();
    throw new LayerError(
      'SHORT_ANSWER',
      `layer ${layer.digest} span ${span}: the answer to bytes ${offsetBytes}-${offsetBytes + lengthBytes - 1} ended early`,
    );
  } catch (cause) {
    if (watch.signal.aborted && !signal.aborted) throw watch.signal.reason;
    throw cause;
  } finally {
    clearTimeout(timer);
  }
}

/** Gathers one span's compressed bytes. */
class SpanFiller {
  readonly bytes: Uint8Array<ArrayBuffer>;
  #filled = SPAN_HEADROOM_BYTES;

  /** @param before the span in front, whose last byte may be this one's first too */
  constructor({ index }: LayerData, span: number, before?: SpanFiller) {
    this.bytes = new Uint8Array(SPAN_HEADROOM_BYTES + blobLength(index, span));
    const shared = before === undefined ? 0 : (index.blobEndBytes[span - 1] ?? 0) - (index.blobStartBytes[span] ?? 0);
    if (before !== undefined && shared > 0) this.bytes.set(before.bytes.subarray(before.bytes.length - shared), this.#filled);
    this.#filled += shared;
  }

  /** Takes what it needs; the rest of the piece when the span is complete, otherwise undefined. */
  fill(piece: Uint8Array): Uint8Array | undefined {
    const length = Math.min(piece.length, this.bytes.length - this.#filled);
    this.bytes.set(length === piece.length ? piece : piece.subarray(0, length), this.#filled);
    this.#filled += length;
    return this.#filled === this.bytes.length ? piece.subarray(length) : undefined;
  }
}
