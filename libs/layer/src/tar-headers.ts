import { TarParser } from '@soci/tar';
import { LayerError } from './errors.ts';
import { HeaderDigest } from './header-digest.ts';
import { DIGEST_BYTES, type SpanIndex } from './span-index.ts';

/** The other spans of the layer, for headers that lie in two. */
export interface Neighbours {
  isOnDisk(span: number): boolean;
  read(into: Uint8Array, offsetBytes: number): Uint8Array;
}

/**
 * Compares the tar headers of a span that was just inflated with what the zTOC said: its maker need not be the image's. A header that runs
 * into other spans is checked when the last of them comes.
 * @throws {LayerError} `HEADER_MISMATCH`
 */
export function checkSpanHeaders(index: SpanIndex, span: number, bytes: Uint8Array, neighbours: Neighbours): void {
  const startBytes = index.startBytes[span] ?? 0;
  const endBytes = startBytes + bytes.length;
  const firstHeader = index.headerOffsetBytes[span] ?? -1;
  if (firstHeader >= 0) compare(bytes.subarray(firstHeader - startBytes), firstHeader, index.headerDigests, span);
  for (let split = lastSplitBefore(index, endBytes); split >= 0; split--) {
    const from = index.splitStartBytes[split] ?? 0;
    const to = index.splitEndBytes[split] ?? 0;
    if (to <= startBytes) break;
    const region = new Uint8Array(to - from);
    if (gather(index, span, bytes, neighbours, region, from)) compare(region, from, index.splitDigests, split);
  }
}

/** Reads the headers that lie wholly in `bytes`, which begin with one. */
function compare(bytes: Uint8Array, baseBytes: number, digests: Uint8Array, row: number): void {
  const digest = new HeaderDigest();
  const parser = new TarParser((entry) => digest.addRead(entry));
  parser.reset(baseBytes);
  try {
    parser.push(bytes);
  } catch (cause) {
    throw new LayerError('HEADER_MISMATCH', `no tar header where the table of contents has one, from offset ${baseBytes} on`, { cause });
  }
  if (digest.take().compare(digests, row * DIGEST_BYTES, (row + 1) * DIGEST_BYTES) !== 0)
    throw new LayerError('HEADER_MISMATCH', `tar headers differ from the table of contents, from offset ${baseBytes} on`);
}

/** The bytes from `from` on, of this span and its neighbours; false when one of those is not there yet. */
function gather(index: SpanIndex, span: number, bytes: Uint8Array, neighbours: Neighbours, region: Uint8Array, from: number): boolean {
  const { startBytes, spanCount } = index;
  const start = startBytes[span] ?? 0;
  const end = start + bytes.length;
  const to = from + region.length;
  for (let other = span - 1; other >= 0 && (startBytes[other + 1] ?? 0) > from; other--) if (!neighbours.isOnDisk(other)) return false;
  for (let other = span + 1; other < spanCount && (startBytes[other] ?? 0) < to; other++) if (!neighbours.isOnDisk(other)) return false;
  if (from < start) neighbours.read(region.subarray(0, start - from), from);
  if (to > end) neighbours.read(region.subarray(end - from), end);
  region.set(bytes.subarray(Math.max(0, from - start), Math.min(bytes.length, to - start)), Math.max(0, start - from));
  return true;
}

/** The last split header that begins before an offset; -1 when none does. */
function lastSplitBefore({ splitStartBytes, splitCount }: SpanIndex, offsetBytes: number): number {
  let low = 0;
  let high = splitCount;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((splitStartBytes[middle] ?? 0) < offsetBytes) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
