import { goJson } from '@soci/image';
import { IndexError } from './errors.ts';

/** Spans that are to be fetched before anyone asks, both ends included. */
export interface PrefetchSpan {
  readonly startSpan: number;
  readonly endSpan: number;
  /** Lower comes sooner; 0 where nothing was said. */
  readonly priority: number;
}

const VERSION = '1.0';
/** Far above any zTOC's span count divided by two; bounds what one artifact makes us do. */
const MAX_SPAN_RANGES = 65_536;
export const MAX_PREFETCH_BYTES = 4 * 1024 * 1024;

/**
 * The bytes of a prefetch artifact, equal to the Go tool's.
 *
 * @throws {IndexError} `PREFETCH_INVALID` when there is no span
 */
export function encodePrefetch(spans: readonly PrefetchSpan[]): Uint8Array {
  if (spans.length === 0) throw new IndexError('PREFETCH_INVALID', 'prefetch artifact is empty');
  return Buffer.from(
    goJson({
      version: VERSION,
      prefetch_spans: spans.map(({ startSpan, endSpan, priority }) => ({
        start_span: startSpan,
        end_span: endSpan,
        priority: priority === 0 ? undefined : priority,
      })),
    }),
  );
}

/**
 * Parses a prefetch artifact. Span numbers may lie beyond the layer's last span: the reader knows that one.
 *
 * @throws {IndexError} `PREFETCH_INVALID`
 */
export function parsePrefetch(bytes: Uint8Array): readonly PrefetchSpan[] {
  if (bytes.length > MAX_PREFETCH_BYTES) throw invalid(`larger than ${MAX_PREFETCH_BYTES} bytes`);
  const document = parseObject(bytes);
  const version = document.get('version');
  if (version !== VERSION) throw invalid(`not version ${VERSION}`);
  const list = document.get('prefetch_spans');
  if (!Array.isArray(list) || list.length === 0) throw invalid('empty');
  if (list.length > MAX_SPAN_RANGES) throw invalid(`${list.length} ranges, more than ${MAX_SPAN_RANGES}`);
  return list.map(parseSpan);
}

/** Sorted, and ranges that overlap or touch made one. */
export function mergeSpans(spans: readonly PrefetchSpan[]): readonly PrefetchSpan[] {
  const sorted = [...spans].sort((a, b) => a.startSpan - b.startSpan || a.endSpan - b.endSpan);
  const merged: PrefetchSpan[] = [];
  for (const span of sorted) {
    const last = merged.at(-1);
    if (last === undefined || span.startSpan > last.endSpan + 1) merged.push(span);
    else if (span.endSpan > last.endSpan) merged[merged.length - 1] = { ...last, endSpan: span.endSpan };
  }
  return merged;
}

/** How many spans the ranges hold together. */
export function countSpans(spans: readonly PrefetchSpan[]): number {
  return spans.reduce((sum, { startSpan, endSpan }) => sum + endSpan - startSpan + 1, 0);
}

function parseObject(bytes: Uint8Array): ReadonlyMap<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new IndexError('PREFETCH_INVALID', 'prefetch artifact: not JSON', { cause });
  }
  return members(value);
}

function parseSpan(value: unknown): PrefetchSpan {
  const fields = members(value);
  const startSpan = spanNumber(fields.get('start_span') ?? 0);
  const endSpan = spanNumber(fields.get('end_span') ?? 0);
  const priority = fields.get('priority') ?? 0;
  if (typeof priority !== 'number' || !Number.isSafeInteger(priority)) throw invalid('priority is not an integer');
  if (endSpan < startSpan) throw invalid(`range ${startSpan}-${endSpan} ends before it begins`);
  return { startSpan, endSpan, priority };
}

function spanNumber(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > 0x7fffffff) throw invalid('not a span number');
  return value;
}

function members(value: unknown): ReadonlyMap<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('not an object');
  return new Map(Object.entries(value));
}

function invalid(why: string): IndexError {
  return new IndexError('PREFETCH_INVALID', `prefetch artifact: ${why}`);
}
