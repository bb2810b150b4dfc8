import type { BlobSource, FetchPriority } from './blob-source.ts';
import { LayerError } from './errors.ts';
import type { LayerData } from './layer-data.ts';
import type { SpanWriter } from './span-writer.ts';

/** Neighbouring spans of a layer, fetched with one request. */
export interface SpanRun {
  readonly layer: LayerData;
  readonly first: number;
  /** Not below `first`. */
  readonly last: number;
  readonly priority: FetchPriority;
  /** How many changes the layer had been told of when the run began: one that is told of meanwhile makes its failure worth another try. */
  readonly changes: number;
}

export interface SpanSink {
  /** Compressed bytes came. */
  received(bytes: number): void;
  /** The first bytes of a span came: waits for memory to put them in. @throws the signal's reason */
  admit(span: number, signal: AbortSignal): Disposable | Promise<Disposable>;
  begin(span: number, memory: Disposable): SpanWriter;
  /** A span's bytes were all pushed. The fetch goes on when the promise settles. */
  complete(span: number, writer: SpanWriter): Promise<void> | undefined;
}

/**
 * Fetches the spans of a run with one ranged request and hands their bytes on as they come.
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
  let missing = 'nothing came';
  const timer = setTimeout(() => watch.abort(new LayerError('STALLED', `layer ${layer.digest}: ${missing} for ${stallMs} ms`)), stallMs);
  const stop = AbortSignal.any([signal, watch.signal]);
  let span = first;
  let writer: SpanWriter | undefined;
  try {
    const lastByte = new Uint8Array(1);
    const pieces = source.read({ ...image, digest: layer.digest, offsetBytes, lengthBytes, priority }, stop);
    for await (const piece of pieces) {
      stop.throwIfAborted();
      if (span > last) return; // bytes that nobody asked for
      timer.refresh();
      sink.received(piece.length);
      for (let at = 0; at < piece.length && span <= last; ) {
        if (writer === undefined) {
          let memory = sink.admit(span, stop);
          if (memory instanceof Promise) {
            missing = 'there was no memory for a span';
            timer.refresh();
            memory = await memory;
            missing = 'nothing came';
            timer.refresh();
          }
          writer = sink.begin(span, memory);
          // Where a span begins inside a byte, the one before ends with that byte.
          if (span > first && (blobStartBytes[span] ?? 0) < (blobEndBytes[span - 1] ?? 0)) writer.push(lastByte);
        }
        const taken = writer.push(piece.subarray(at));
        at += taken;
        if (taken > 0) lastByte[0] = piece[at - 1] ?? 0;
        if (!writer.isComplete) break;
        const room = sink.complete(span++, writer);
        writer = undefined;
        if (room === undefined) continue;
        await room;
        timer.refresh();
      }
    }
    if (span > last) return;
    stop.throwIfAborted();
    throw new LayerError(
      'SHORT_ANSWER',
      `layer ${layer.digest} span ${span}: the answer to bytes ${offsetBytes}-${offsetBytes + lengthBytes - 1} ended early`,
    );
  } catch (cause) {
    if (span > last) return; // all was handed over: how the request ends is nobody's concern
    if (watch.signal.aborted && !signal.aborted) throw watch.signal.reason;
    throw cause;
  } finally {
    writer?.abandon();
    clearTimeout(timer);
  }
}
