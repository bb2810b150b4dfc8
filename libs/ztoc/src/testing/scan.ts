import { type InflateEngine, selectEngine } from '@soci/zlib';
import type { ZtocAlgorithm } from '../checkpoints.ts';
import { type BuiltZtoc, LayerScanner } from '../layer-scanner.ts';

export interface ScanOptions {
  readonly algorithm?: ZtocAlgorithm;
  readonly spanSize?: bigint;
  readonly engine?: InflateEngine;
  readonly pieceBytes?: number;
  readonly buildTool?: string;
}

/** Builds the zTOC of a layer in this thread. */
export function scanLayer(layer: Uint8Array, options: ScanOptions = {}): BuiltZtoc {
  const { algorithm = 'gzip', spanSize = 65_536n, engine = selectEngine(), buildTool = 'AWS SOCI CLI v0.2' } = options;
  using scanner = new LayerScanner({ algorithm, spanSize, engine: () => engine });
  const { pieceBytes = scanner.input.length } = options;
  for (let at = 0; at < layer.length; at += pieceBytes) {
    const piece = layer.subarray(at, at + pieceBytes);
    scanner.input.set(piece);
    scanner.push(piece.length);
  }
  return scanner.finish(buildTool);
}
