import { posix } from 'node:path';
import type { TocColumns } from '@soci/ztoc';
import type { PrefetchSpan } from './prefetch.ts';

/** A layer whose names can be looked up. */
export interface SearchableLayer {
  readonly digest: string;
  readonly columns: TocColumns;
  /** The span that holds this offset of the uncompressed tar. */
  spanOf(offsetBytes: number): number;
}

export interface PrefetchMatches {
  /** By layer digest, not merged. */
  readonly spans: ReadonlyMap<string, readonly PrefetchSpan[]>;
  /** The paths that no layer has, cleaned, in the order they were given. */
  readonly missing: readonly string[];
}

/**
 * Looks each file up in the layers, the topmost first; the first match counts, whiteouts do not. A name has to be equal to the path without its leading slash, as in
 * the Go tool; only for paths that no layer has so, names that begin with `./` or `/` are taken as well.
 *
 * @param layers from the bottom up, each digest once
 */
export function findPrefetchSpans(paths: readonly string[], layers: readonly SearchableLayer[]): PrefetchMatches {
  const cleaned = [...new Set(paths.map(cleanPath))];
  const wanted = new Set(cleaned.map((path) => Buffer.from(path).toString('latin1')));
  const spans = new Map<string, PrefetchSpan[]>();
  for (const nameOf of [exactName, cleanedName]) {
    for (const layer of layers.toReversed()) {
      if (wanted.size > 0) take(layer, wanted, nameOf, spans);
    }
  }
  return { spans, missing: cleaned.filter((path) => wanted.has(Buffer.from(path).toString('latin1'))) };
}

/** Names are compared as bytes: one character of these texts is one byte. */
type NameOf = (bytes: Buffer, start: number, end: number) => string;

const exactName: NameOf = (bytes, start, end) => bytes.toString('latin1', start, end);

const cleanedName: NameOf = (bytes, start, end) => {
  const name = bytes.toString('latin1', start, end);
  return name.endsWith('/') ? name : cleanPath(name);
};

function take(layer: SearchableLayer, wanted: Set<string>, nameOf: NameOf, spans: Map<string, PrefetchSpan[]>): void {
  const { columns } = layer;
  const bytes = Buffer.from(columns.bytes.buffer, columns.bytes.byteOffset, columns.bytes.byteLength);
  for (let i = 0; i < columns.count && wanted.size > 0; i++) {
    if (!wanted.delete(nameOf(bytes, columns.nameStart[i] ?? 0, columns.nameEnd[i] ?? 0))) continue;
    const offset = columns.offsetBytes[i] ?? 0;
    const startSpan = layer.spanOf(offset);
    // The end counts as inside: a file that ends on a border takes one span more. The Go tool's rule, kept for equal bytes.
    const endSpan = Math.max(startSpan, layer.spanOf(offset + (columns.sizeBytes[i] ?? 0)));
    const list = spans.get(layer.digest) ?? [];
    list.push({ startSpan, endSpan, priority: 0 });
    spans.set(layer.digest, list);
  }
}

/** An absolute path without its leading slash; no `.`, `..`, double or trailing slash. */
function cleanPath(path: string): string {
  return posix.normalize(`/${path}`).replace(/^\/+|\/+$/g, '');
}
