import { open } from 'node:fs/promises';
import type { LayerData } from './layer-data.ts';
import { dataLength } from './span-index.ts';
import { SpanPool } from './span-pool.ts';

const never = new AbortController().signal;

export interface FillOptions {
  /** The layer's uncompressed tar, trusted: only its headers are compared with the table of contents. */
  readonly tarPath: string;
  /** Spans in the order in which they are written; all from first to last when absent. */
  readonly order?: readonly number[];
  readonly signal?: AbortSignal;
}

/**
 * Fills a layer from a tar that is at hand, instead of from a registry. With all spans in `order` the layer is complete afterwards.
 * No engine may serve the layer meanwhile.
 * @throws {LayerError} `HEADER_MISMATCH` when the tar is another layer's
 */
export async function fillLayer(layer: LayerData, { tarPath, order, signal }: FillOptions): Promise<void> {
  await using pool = new SpanPool();
  await using tar = await open(tarPath, 'r');
  pool.open(layer);
  const running: Promise<void>[] = [];
  for (const span of order ?? Array.from({ length: layer.index.spanCount }, (_, index) => index)) {
    signal?.throwIfAborted();
    if (layer.isPresent(span)) continue;
    await pool.hasRoom();
    const memory = await pool.admit(layer, span, signal ?? never);
    const bytes = new Uint8Array(dataLength(layer.index, span));
    await tar.read(bytes, 0, bytes.length, layer.index.startBytes[span] ?? 0);
    const stored = pool.storePlain(layer, span, bytes, memory).then((checksum) => {
      layer.stored(span, checksum);
      layer.announce(span);
    });
    running.push(stored);
    stored.catch(() => undefined); // awaited below, with the others
  }
  await Promise.all(running);
  await layer.flush();
}

/** All spans of a layer in a random order that is the same for the same seed. */
export function shuffledSpans(spanCount: number, seed: number): number[] {
  const spans = Array.from({ length: spanCount }, (_, span) => span);
  let state = seed >>> 0 || 1;
  for (let i = spanCount - 1; i > 0; i--) {
    state = Math.imul(state ^ (state << 13), 1);
    state ^= state >>> 17;
    state ^= state << 5;
    const j = (state >>> 0) % (i + 1);
    [spans[i], spans[j]] = [spans[j] ?? 0, spans[i] ?? 0];
  }
  return spans;
}
