import { crc32 } from 'node:zlib';
import { ENTRY_TYPE, type TocColumns, type Ztoc } from '@soci/ztoc';
import { LayerError } from './errors.ts';
import { HeaderDigest } from './header-digest.ts';
import { DIGEST_BYTES, newSpanIndex, sealSpanIndex, type SpanIndex, spanAt } from './span-index.ts';

/** A span is fetched, inflated and checked in one piece; a layer with a larger one is not served by spans. */
const MAX_SPAN_BYTES = 256 << 20;

/**
 * Takes from a zTOC what serving the layer needs, sealed.
 * @throws {LayerError} `NOT_SERVABLE` when a span is too large to be fetched for one read
 */
export function makeSpanIndex(ztoc: Ztoc, columns: TocColumns): SpanIndex {
  const spanCount = usedSpans(ztoc);
  const splits = splitHeaders(ztoc, columns);
  const index = newSpanIndex(ztoc.algorithm, spanCount, splits.length, ztoc.streamEndBytes, ztoc.compressedSizeBytes);
  index.startBytes.set(ztoc.spanStartBytes.subarray(0, spanCount));
  index.startBytes[spanCount] = ztoc.streamEndBytes;
  for (let span = 0; span < spanCount; span++) setSpan(index, ztoc, span);
  setHeaders(index, columns, splits);
  setRuns(index, columns);
  sealSpanIndex(index);
  return index;
}

/** A last span in which no byte of the tar lies is never wanted. */
function usedSpans({ spanCount, spanStartBytes, streamEndBytes }: Ztoc): number {
  return spanCount > 0 && spanStartBytes[spanCount - 1] === streamEndBytes ? spanCount - 1 : spanCount;
}

function setSpan(index: SpanIndex, ztoc: Ztoc, span: number): void {
  const { offsetBytes, endBytes } = ztoc.compressedRange(span);
  const dataBytes = (index.startBytes[span + 1] ?? 0) - (index.startBytes[span] ?? 0);
  if (endBytes - offsetBytes > MAX_SPAN_BYTES || dataBytes > MAX_SPAN_BYTES)
    throw new LayerError(
      'NOT_SERVABLE',
      `span ${span} has ${endBytes - offsetBytes} bytes, ${dataBytes} inflated: more than ${MAX_SPAN_BYTES}`,
    );
  index.blobStartBytes[span] = offsetBytes;
  index.blobEndBytes[span] = endBytes;
  index.bits[span] = ztoc.bits(span);
  index.digests.set(Buffer.from(ztoc.digest(span).slice('sha256:'.length), 'hex'), span * DIGEST_BYTES);
  index.windowOffsetBytes[span] = -1;
  index.headerOffsetBytes[span] = -1;
  index.runsToSpan[span] = span;
  if (ztoc.algorithm !== 'gzip') return;
  const window = ztoc.window(span);
  if (window.buffer !== ztoc.bytes.buffer) return; // of the older form, which leaves the first one out: zeros
  index.windowOffsetBytes[span] = window.byteOffset - ztoc.bytes.byteOffset;
  index.windowChecksums[span] = crc32(window);
}

/** Entries whose headers lie in more than one span. */
function splitHeaders(ztoc: Ztoc, { count, headerOffsetBytes, offsetBytes }: TocColumns): number[] {
  const splits: number[] = [];
  for (let entry = 0; entry < count; entry++) {
    if (ztoc.spanAt(headerOffsetBytes[entry] ?? 0) !== ztoc.spanAt((offsetBytes[entry] ?? 0) - 1)) splits.push(entry);
  }
  return splits;
}

function setHeaders(index: SpanIndex, columns: TocColumns, splits: readonly number[]): void {
  const digest = new HeaderDigest();
  splits.forEach((entry, split) => {
    index.splitStartBytes[split] = columns.headerOffsetBytes[entry] ?? 0;
    index.splitEndBytes[split] = columns.offsetBytes[entry] ?? 0;
    digest.addListed(columns, entry);
    index.splitDigests.set(digest.take(), split * DIGEST_BYTES);
  });
  const isSplit = new Set(splits);
  let current = -1;
  const finish = (): void => {
    if (current >= 0) index.headerDigests.set(digest.take(), current * DIGEST_BYTES);
  };
  for (let entry = 0; entry < columns.count; entry++) {
    if (isSplit.has(entry)) continue;
    const headerAt = columns.headerOffsetBytes[entry] ?? 0;
    const span = spanAt(index, headerAt);
    if (span !== current) {
      finish();
      current = span;
      index.headerOffsetBytes[span] = headerAt;
    }
    digest.addListed(columns, entry);
  }
  finish();
}

/** For each span: how far the file reaches that runs over its end. */
function setRuns(index: SpanIndex, { count, type, offsetBytes, sizeBytes }: TocColumns): void {
  for (let entry = 0; entry < count; entry++) {
    const size = sizeBytes[entry] ?? 0;
    if (type[entry] !== ENTRY_TYPE.regular || size === 0) continue;
    const first = spanAt(index, offsetBytes[entry] ?? 0);
    const last = spanAt(index, (offsetBytes[entry] ?? 0) + size - 1);
    if (last > first) index.runsToSpan.fill(last, first, last);
  }
}
